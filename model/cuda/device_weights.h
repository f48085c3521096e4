#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/cuda/memory.h"
#include "model/model_config.h"

namespace drover::cuda {

// A projection: [out_features, in_features], row-major, on the device.
struct DeviceLinear {
  void* weight = nullptr;
  void* bias = nullptr;  // [out_features], or null
  int32_t in_features = 0;
  int32_t out_features = 0;
};

struct DeviceLayer {
  void* input_norm = nullptr;
  DeviceLinear qkv;
  DeviceLinear o;
  void* post_attention_norm = nullptr;
  DeviceLinear gate_up;
  DeviceLinear down;
};

// Where one of the model's tensors goes. Parts of a fused projection are rows
// of it, one below the other.
struct WeightTarget {
  std::string name;
  void* data = nullptr;
  int64_t num_elements = 0;
  bool is_matrix = false;
};

// All weights of a model in one piece of device memory. Pointers are into it.
struct DeviceWeights {
  void* embedding = nullptr;  // [vocab_size, hidden_size]
  std::vector<DeviceLayer> layers;
  void* final_norm = nullptr;
  DeviceLinear head;  // the embedding, if the two are tied

  DeviceMemory memory;
  int64_t num_bytes = 0;
  DType dtype = DType::kBFloat16;
  // Every tensor of ExpectedTensors(config), in the order of the forward.
  std::vector<WeightTarget> targets;
};

// Of the memory that AllocateWeights takes.
int64_t WeightBytes(const ModelConfig& config, DType dtype);

// Allocates; the contents are undefined.
absl::StatusOr<DeviceWeights> AllocateWeights(const ModelConfig& config,
                                              DType dtype);

}  // namespace drover::cuda
