#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model_config.h"

namespace drover {

// A tensor that a model needs.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;

  bool operator==(const TensorSpec&) const = default;
};

// Every tensor of the model, under Hugging Face's names, in the order in which
// the forward uses them. With tied embeddings there is no lm_head.weight.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);

}  // namespace drover
