#include "model/layers/rotary_embedding.h"

#include <cmath>
#include <cstddef>

#include "ATen/Parallel.h"
#include "ATen/ops/empty.h"

namespace drover {

RotaryEmbedding::RotaryEmbedding(const RopeConfig& rope, int64_t head_dim,
                                 int64_t max_positions)
    : cos(at::empty({max_positions, head_dim / 2}, at::kFloat)),
      sin(at::empty({max_positions, head_dim / 2}, at::kFloat)) {
  const RopeFrequencies frequencies = ComputeRopeFrequencies(rope, head_dim);
  const int64_t half = head_dim / 2;
  auto* cos_data = cos.mutable_data_ptr<float>();
  auto* sin_data = sin.mutable_data_ptr<float>();
  at::parallel_for(0, max_positions, 64, [&](int64_t begin, int64_t end) {
    for (int64_t position = begin; position < end; ++position) {
      for (int64_t i = 0; i < half; ++i) {
        // The angle is rounded to float32 as in the models' training.
        const float angle = static_cast<float>(position) *
                            frequencies.inverse[static_cast<size_t>(i)];
        cos_data[position * half + i] =
            std::cos(angle) * frequencies.attention_factor;
        sin_data[position * half + i] =
            std::sin(angle) * frequencies.attention_factor;
      }
    }
  });
}

}  // namespace drover
