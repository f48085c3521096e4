#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/model_config.h"
#include "model/safetensors.h"
#include "scheduler/prompt_prefix.h"

namespace drover {

// What a model takes for a soft prompt.
struct PrefixShape {
  int64_t hidden_size = 0;
  int32_t max_tokens = 0;
  DType dtype = DType::kFloat32;  // in which the model computes
};

// The soft prompt in a safetensors file's bytes: the tensor prompt_embeddings,
// as PEFT saves it, or the only one there is. Converted to the model's dtype,
// in which every element must be finite. INVALID_ARGUMENT says what is wrong,
// where TGIS has words for it, in these; `name` is the file's for messages.
absl::StatusOr<PromptPrefix> ReadPromptPrefix(std::string_view name,
                                              absl::Span<const std::byte> file,
                                              const PrefixShape& shape);

}  // namespace drover
