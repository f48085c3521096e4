#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace drover {

// The characters of UTF-8 texts, and what ICU knows of them. Texts are
// well-formed.

// The character that begins at `i`, which moves behind it.
int32_t NextCodePoint(std::string_view text, size_t& i);

// The character that ends at `i`, which moves to its beginning.
int32_t PreviousCodePoint(std::string_view text, size_t& i);

void AppendCodePoint(int32_t code_point, std::string& text);

bool IsWhiteSpace(int32_t code_point);

// As \w of Unicode's regular expressions.
bool IsOfWord(int32_t code_point);

}  // namespace drover
