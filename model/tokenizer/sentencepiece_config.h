#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "model/tokenizer/sentencepiece_tokenizer.h"

namespace drover {

// How texts are encoded, from the tokenizer_config.json beside a
// tokenizer.model. Without one there is nothing but the model: BOS in front,
// and all text is text. With one, the folder was made for Hugging Face's
// tokenizers, which find special tokens in a text. An EOS at the end of texts,
// which no Llama wants, is refused.
absl::StatusOr<SentencepieceTokenizer::Options> ReadSentencepieceConfig(
    const std::string& path);

}  // namespace drover
