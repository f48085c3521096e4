#pragma once

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "model/layers/rope_frequencies.h"
#include "model/model_config.h"

namespace drover {

// Cosine and sine of every position a sequence can have.
struct RotaryEmbedding {
  RotaryEmbedding(const RopeConfig& rope, int64_t head_dim,
                  int64_t max_positions);

  at::Tensor cos;  // [max_positions, head_dim / 2], float32
  at::Tensor sin;  // [max_positions, head_dim / 2], float32
};

}  // namespace drover
