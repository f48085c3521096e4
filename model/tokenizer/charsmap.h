#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace drover {

// A tokenizer.model may carry a table that normalises texts, and sentencepiece
// follows it without looking where it leads. These two find the tables and tell
// whether that is safe. No text can make a sound table be read out of bounds.

// The tables (precompiled_charsmap) of a serialized sentencepiece ModelProto,
// in place; more than one where fields are repeated. Nullopt if it is no
// protobuf.
std::optional<std::vector<std::string_view>> FindCharsmaps(
    std::string_view serialized);

// True if every path through the table's trie stays inside it, ends, and meets
// no more rules than sentencepiece has room for.
bool IsSoundCharsmap(std::string_view charsmap);

}  // namespace drover
