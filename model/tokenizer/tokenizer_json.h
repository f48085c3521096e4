#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer.h"

namespace drover {

// From the content of a tokenizer.json (the file of Hugging Face's tokenizers)
// that describes a byte-level BPE. INVALID_ARGUMENT if it contradicts itself,
// UNIMPLEMENTED for what cannot be used; both name the place in the file, not
// the file: `pre_tokenizer.pretokenizers[0].type: "Metaspace" cannot be used`.
//
// Not read, because clients of those libraries never see it: `truncation` and
// `padding`.
absl::StatusOr<std::unique_ptr<Tokenizer>> ParseTokenizerJson(
    std::string_view text);

}  // namespace drover
