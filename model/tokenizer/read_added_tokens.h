#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/json_node.h"
#include "model/tokenizer/read_bpe.h"

namespace drover {

// The `added_tokens` of a tokenizer.json, from its root. Their ids must be
// those that Hugging Face's tokenizers give them, whatever the file says: the
// vocabulary's where it has the content, else the next one after all others.
absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const JsonNode& root,
                                                        const BpeModel& model);

// The `added_tokens_decoder` of a tokenizer_config.json, from its root: tokens
// by their ids. Empty without one.
absl::StatusOr<std::vector<AddedToken>> ReadAddedTokensDecoder(
    const JsonNode& root);

}  // namespace drover
