#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/json_node.h"

namespace drover {

// What happens to the tokens of a text in the end.
struct PostProcessing {
  std::optional<int32_t> bos_id;  // goes in front
  // ByteLevel's trim_offsets, once for each: white space at a token's ends is
  // no part of its range. True (add_prefix_space): one alone in front of the
  // first token is.
  std::vector<bool> trims;
};

// The `post_processor` of a tokenizer.json: ByteLevel, TemplateProcessing with
// at most one token, in front, or a Sequence of them. Anything else is refused
// by name.
absl::StatusOr<PostProcessing> ReadPostProcessor(const JsonNode& node);

}  // namespace drover
