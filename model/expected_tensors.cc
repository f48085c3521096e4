#include "model/expected_tensors.h"

#include <string_view>

#include "base/strings.h"

namespace drover {
namespace {

// Collects one layer's tensors under the layer's prefix.
class LayerTensors {
 public:
  LayerTensors(int64_t layer, std::vector<TensorSpec>& out)
      : prefix_(StrCat("model.layers.", layer, ".")), out_(out) {}

  void Norm(std::string_view name, int64_t size) {
    out_.push_back({StrCat(prefix_, name, ".weight"), {size}});
  }

  void Linear(std::string_view name, int64_t out_size, int64_t in_size,
              bool bias) {
    out_.push_back({StrCat(prefix_, name, ".weight"), {out_size, in_size}});
    if (bias) out_.push_back({StrCat(prefix_, name, ".bias"), {out_size}});
  }

 private:
  const std::string prefix_;
  std::vector<TensorSpec>& out_;
};

void AddLayer(const ModelConfig& config, int64_t index,
              std::vector<TensorSpec>& out) {
  const int64_t hidden = config.hidden_size;
  const int64_t q_size = config.num_heads * config.head_dim;
  const int64_t kv_size = config.num_kv_heads * config.head_dim;
  LayerTensors layer(index, out);
  layer.Norm("input_layernorm", hidden);
  layer.Linear("self_attn.q_proj", q_size, hidden, config.qkv_bias);
  layer.Linear("self_attn.k_proj", kv_size, hidden, config.qkv_bias);
  layer.Linear("self_attn.v_proj", kv_size, hidden, config.qkv_bias);
  layer.Linear("self_attn.o_proj", hidden, q_size, config.o_bias);
  layer.Norm("post_attention_layernorm", hidden);
  layer.Linear("mlp.gate_proj", config.intermediate_size, hidden,
               config.mlp_bias);
  layer.Linear("mlp.up_proj", config.intermediate_size, hidden,
               config.mlp_bias);
  layer.Linear("mlp.down_proj", hidden, config.intermediate_size,
               config.mlp_bias);
}

}  // namespace

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  std::vector<TensorSpec> tensors;
  tensors.push_back(
      {"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}});
  for (int64_t i = 0; i < config.num_layers; ++i) AddLayer(config, i, tensors);
  tensors.push_back({"model.norm.weight", {config.hidden_size}});
  if (!config.tie_word_embeddings) {
    tensors.push_back(
        {"lm_head.weight", {config.vocab_size, config.hidden_size}});
  }
  return tensors;
}

}  // namespace drover
