#pragma once

#include <cstdint>
#include <vector>

#include "model/model_config.h"

namespace drover::cuda {

// Cosine and sine of every position a sequence can have, on the host.
struct RopeTable {
  std::vector<float> cos;  // [max_positions, head_dim / 2]
  std::vector<float> sin;  // [max_positions, head_dim / 2]
};

RopeTable ComputeRopeTable(const RopeConfig& rope, int64_t head_dim,
                           int64_t max_positions);

}  // namespace drover::cuda
