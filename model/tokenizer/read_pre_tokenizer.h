#pragma once

#include "absl/status/statusor.h"
#include "model/tokenizer/json_node.h"
#include "model/tokenizer/pre_tokenizer.h"

namespace drover {

// The `pre_tokenizer` of a tokenizer.json: ByteLevel, or a Sequence of Splits
// that ends with it. Anything else is refused by name.
absl::StatusOr<PreTokenizer> ReadPreTokenizer(const JsonNode& node);

}  // namespace drover
