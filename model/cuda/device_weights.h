#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "model/cuda/memory.h"
#include "model/model_config.h"
#include "sharding/ranks/partition.h"

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

// Where a rank's part of one of the model's tensors goes, densely. Parts of a
// fused projection are rows of it, one below the other.
struct WeightTarget {
  TensorSlice slice;
  void* data = nullptr;

  int64_t num_elements() const { return slice.num_elements(); }
};

// A rank's weights in one piece of device memory. Pointers are into it.
struct DeviceWeights {
  void* embedding = nullptr;  // [partition.vocab.size, hidden_size]
  std::vector<DeviceLayer> layers;
  void* final_norm = nullptr;
  DeviceLinear head;  // the embedding, if the two are tied

  DeviceMemory memory;
  int64_t num_bytes = 0;
  DType dtype = DType::kBFloat16;
  RankPartition partition;
  // Of ExpectedTensors(config) those that the rank has a part of, in the order
  // of the forward.
  std::vector<WeightTarget> targets;
};

// Of the memory that AllocateWeights takes.
int64_t WeightBytes(const ModelConfig& config, const RankPartition& partition,
                    DType dtype);

// Allocates; the contents are undefined.
absl::StatusOr<DeviceWeights> AllocateWeights(const ModelConfig& config,
                                              const RankPartition& partition,
                                              DType dtype);

}  // namespace drover::cuda
