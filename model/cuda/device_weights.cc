#include "model/cuda/device_weights.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"

namespace drover::cuda {
namespace {

// Lays a model's tensors out, in the order of its forward.
class Layout {
 public:
  Layout(Arena arena, DType dtype) : arena_(arena), dtype_(dtype) {}

  void* Tensor(const std::string& name, int64_t rows, int64_t columns,
               bool is_matrix) {
    void* data = arena_.TakeBytes(rows * columns * DTypeBytes(dtype_));
    targets_.push_back({name, data, rows * columns, is_matrix});
    return data;
  }

  struct Part {
    const char* name;
    int64_t rows;
  };
  DeviceLinear Linear(const std::string& prefix, absl::Span<const Part> parts,
                      int64_t in_features, bool bias) {
    int64_t rows = 0;
    for (const Part& part : parts) rows += part.rows;
    DeviceLinear linear = {.in_features = static_cast<int32_t>(in_features),
                           .out_features = static_cast<int32_t>(rows)};
    linear.weight = Parts(prefix, ".weight", parts, in_features, true);
    if (bias) linear.bias = Parts(prefix, ".bias", parts, 1, false);
    return linear;
  }

  int64_t used_bytes() const { return arena_.used_bytes(); }
  std::vector<WeightTarget> TakeTargets() { return std::move(targets_); }

 private:
  void* Parts(const std::string& prefix, const char* suffix,
              absl::Span<const Part> parts, int64_t columns, bool is_matrix) {
    int64_t size = 0;
    for (const Part& part : parts) size += part.rows * columns;
    void* data = arena_.TakeBytes(size * DTypeBytes(dtype_));
    auto* next = static_cast<std::byte*>(data);
    for (const Part& part : parts) {
      const int64_t part_size = part.rows * columns;
      targets_.push_back({absl::StrCat(prefix, part.name, suffix), next,
                          part_size, is_matrix});
      if (next != nullptr) next += part_size * DTypeBytes(dtype_);
    }
    return data;
  }

  Arena arena_;
  const DType dtype_;
  std::vector<WeightTarget> targets_;
};

DeviceLayer LayOutLayer(const ModelConfig& config, const std::string& prefix,
                        Layout& layout) {
  const int64_t hidden = config.hidden_size;
  const int64_t q_size = config.num_heads * config.head_dim;
  const int64_t kv_size = config.num_kv_heads * config.head_dim;
  const int64_t mlp_size = config.intermediate_size;
  // Braces keep the order of the fields, which is the files'.
  return DeviceLayer{
      layout.Tensor(prefix + "input_layernorm.weight", 1, hidden, false),
      layout.Linear(
          prefix + "self_attn.",
          {{"q_proj", q_size}, {"k_proj", kv_size}, {"v_proj", kv_size}},
          hidden, config.qkv_bias),
      layout.Linear(prefix + "self_attn.", {{"o_proj", hidden}}, q_size,
                    config.o_bias),
      layout.Tensor(prefix + "post_attention_layernorm.weight", 1, hidden,
                    false),
      layout.Linear(prefix + "mlp.",
                    {{"gate_proj", mlp_size}, {"up_proj", mlp_size}}, hidden,
                    config.mlp_bias),
      layout.Linear(prefix + "mlp.", {{"down_proj", hidden}}, mlp_size,
                    config.mlp_bias)};
}

DeviceWeights LayOut(const ModelConfig& config, DType dtype, Arena arena) {
  Layout layout(arena, dtype);
  DeviceWeights weights;
  weights.dtype = dtype;
  weights.embedding =
      layout.Tensor("model.embed_tokens.weight", config.vocab_size,
                    config.hidden_size, /*is_matrix=*/true);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    weights.layers.push_back(
        LayOutLayer(config, absl::StrCat("model.layers.", i, "."), layout));
  }
  weights.final_norm =
      layout.Tensor("model.norm.weight", 1, config.hidden_size, false);
  if (config.tie_word_embeddings) {
    weights.head = {.weight = weights.embedding,
                    .in_features = static_cast<int32_t>(config.hidden_size),
                    .out_features = static_cast<int32_t>(config.vocab_size)};
  } else {
    weights.head = layout.Linear("", {{"lm_head", config.vocab_size}},
                                 config.hidden_size, /*bias=*/false);
  }
  weights.num_bytes = layout.used_bytes();
  weights.targets = layout.TakeTargets();
  return weights;
}

}  // namespace

int64_t WeightBytes(const ModelConfig& config, DType dtype) {
  return LayOut(config, dtype, Arena()).num_bytes;
}

absl::StatusOr<DeviceWeights> AllocateWeights(const ModelConfig& config,
                                              DType dtype) {
  DROVER_ASSIGN_OR_RETURN(
      DeviceMemory memory,
      AllocateDevice(WeightBytes(config, dtype), "the weights"));
  DeviceWeights weights = LayOut(config, dtype, Arena(memory.get()));
  weights.memory = std::move(memory);
  return weights;
}

}  // namespace drover::cuda
