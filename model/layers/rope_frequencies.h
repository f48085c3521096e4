#pragma once

#include <cstdint>
#include <vector>

#include "model/model_config.h"

namespace drover {

// The angle per position of each pair of elements, and what cosine and sine are
// multiplied with (1 but for yarn).
struct RopeFrequencies {
  std::vector<float> inverse;  // [head_dim / 2]
  float attention_factor = 1.0f;
};

// default: Su et al., "RoFormer" (2021).
// linear: Chen et al., "Extending Context Window of Large Language Models via
//   Positional Interpolation" (2023): positions divided by a factor.
// llama3: Meta's reference code for Llama 3.1: long wavelengths divided by a
//   factor, short ones kept, a ramp between.
// yarn: Peng et al., "YaRN: Efficient Context Window Extension of Large
//   Language Models" (2023): the same idea with the ramp over dimensions.
RopeFrequencies ComputeRopeFrequencies(const RopeConfig& rope,
                                       int64_t head_dim);

}  // namespace drover
