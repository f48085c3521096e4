#include "model/cuda/rope_table.h"

#include <cmath>
#include <cstddef>

#include "model/layers/rope_frequencies.h"

namespace drover::cuda {

RopeTable ComputeRopeTable(const RopeConfig& rope, int64_t head_dim,
                           int64_t max_positions) {
  const RopeFrequencies frequencies = ComputeRopeFrequencies(rope, head_dim);
  RopeTable table;
  table.cos.reserve(static_cast<size_t>(max_positions * head_dim / 2));
  table.sin.reserve(table.cos.capacity());
  for (int64_t position = 0; position < max_positions; ++position) {
    for (const float inverse : frequencies.inverse) {
      // The angle is rounded to float32 as in the models' training.
      const float angle = static_cast<float>(position) * inverse;
      table.cos.push_back(std::cos(angle) * frequencies.attention_factor);
      table.sin.push_back(std::sin(angle) * frequencies.attention_factor);
    }
  }
  return table;
}

}  // namespace drover::cuda
