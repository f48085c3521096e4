#include "model/cuda/device_weights.h"

#include <cstddef>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"

namespace drover::cuda {
namespace {

// Lays a rank's parts of a model out, in the order of its forward.
class Layout {
 public:
  Layout(const ModelConfig& config, const RankPartition& partition, Arena arena,
         DType dtype)
      : arena_(arena), dtype_(dtype) {
    for (TensorSlice& slice : SliceTensors(config, partition)) {
      std::string name = slice.tensor.name;
      slices_.emplace(std::move(name), std::move(slice));
    }
  }

  // A tensor; null if the rank has none of it, or the model has not.
  void* Tensor(const std::string& name) { return Tensors({name}); }

  // A projection whose rows come from several of the model's: names without
  // ".weight" and ".bias".
  DeviceLinear Linear(const std::string& prefix,
                      absl::Span<const char* const> parts) {
    std::vector<std::string> weights;
    std::vector<std::string> biases;
    DeviceLinear linear;
    for (const char* part : parts) {
      weights.push_back(absl::StrCat(prefix, part, ".weight"));
      biases.push_back(absl::StrCat(prefix, part, ".bias"));
      const MatrixSlice matrix(slices_.at(weights.back()));
      linear.in_features = static_cast<int32_t>(matrix.columns.size);
      linear.out_features += static_cast<int32_t>(matrix.rows.size);
    }
    linear.weight = Tensors(weights);
    linear.bias = Tensors(biases);
    return linear;
  }

  int64_t used_bytes() const { return arena_.used_bytes(); }
  std::vector<WeightTarget> TakeTargets() { return std::move(targets_); }

 private:
  // One below the other.
  void* Tensors(absl::Span<const std::string> names) {
    std::vector<WeightTarget> targets;
    int64_t size = 0;
    for (const std::string& name : names) {
      const auto found = slices_.find(name);
      if (found == slices_.end()) continue;
      targets.push_back({.slice = found->second});
      size += targets.back().num_elements();
    }
    if (size == 0) return nullptr;
    void* const data = arena_.TakeBytes(size * DTypeBytes(dtype_));
    auto* next = static_cast<std::byte*>(data);
    for (WeightTarget& target : targets) {
      target.data = next;
      if (next != nullptr) next += target.num_elements() * DTypeBytes(dtype_);
      targets_.push_back(std::move(target));
    }
    return data;
  }

  Arena arena_;
  const DType dtype_;
  std::map<std::string, TensorSlice> slices_;  // by name
  std::vector<WeightTarget> targets_;
};

DeviceLayer LayOutLayer(const std::string& prefix, Layout& layout) {
  // Braces keep the order of the fields, which is the files'.
  return DeviceLayer{
      layout.Tensor(prefix + "input_layernorm.weight"),
      layout.Linear(prefix + "self_attn.", {"q_proj", "k_proj", "v_proj"}),
      layout.Linear(prefix + "self_attn.", {"o_proj"}),
      layout.Tensor(prefix + "post_attention_layernorm.weight"),
      layout.Linear(prefix + "mlp.", {"gate_proj", "up_proj"}),
      layout.Linear(prefix + "mlp.", {"down_proj"})};
}

DeviceWeights LayOut(const ModelConfig& config, const RankPartition& partition,
                     DType dtype, Arena arena) {
  Layout layout(config, partition, arena, dtype);
  DeviceWeights weights;
  weights.dtype = dtype;
  weights.partition = partition;
  weights.embedding = layout.Tensor("model.embed_tokens.weight");
  for (int64_t i = 0; i < config.num_layers; ++i) {
    weights.layers.push_back(
        LayOutLayer(absl::StrCat("model.layers.", i, "."), layout));
  }
  weights.final_norm = layout.Tensor("model.norm.weight");
  if (config.tie_word_embeddings) {
    weights.head = {.weight = weights.embedding,
                    .in_features = static_cast<int32_t>(config.hidden_size),
                    .out_features = static_cast<int32_t>(partition.vocab.size)};
  } else {
    weights.head = layout.Linear("", {"lm_head"});
  }
  weights.num_bytes = layout.used_bytes();
  weights.targets = layout.TakeTargets();
  return weights;
}

}  // namespace

int64_t WeightBytes(const ModelConfig& config, const RankPartition& partition,
                    DType dtype) {
  return LayOut(config, partition, dtype, Arena()).num_bytes;
}

absl::StatusOr<DeviceWeights> AllocateWeights(const ModelConfig& config,
                                              const RankPartition& partition,
                                              DType dtype) {
  DROVER_ASSIGN_OR_RETURN(
      DeviceMemory memory,
      AllocateDevice(WeightBytes(config, partition, dtype), "the weights"));
  DeviceWeights weights = LayOut(config, partition, dtype, Arena(memory.get()));
  weights.memory = std::move(memory);
  return weights;
}

}  // namespace drover::cuda
