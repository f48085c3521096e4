#include "model/llama.h"

#include <algorithm>
#include <string>

#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/kernels/kernel_dispatch.h"

namespace drover {
namespace {

using kernels::Data;
using kernels::KernelTable;

Attention LoadAttention(const ModelConfig& config, const std::string& prefix,
                        WeightLoader& loader) {
  Linear qkv = loader.LoadLinear(
      {prefix + "q_proj", prefix + "k_proj", prefix + "v_proj"});
  Linear o = loader.LoadLinear({prefix + "o_proj"});
  return Attention(config, std::move(qkv), std::move(o));
}

Mlp LoadMlp(const std::string& prefix, WeightLoader& loader) {
  Linear gate_up =
      loader.LoadLinear({prefix + "gate_proj", prefix + "up_proj"});
  Linear down = loader.LoadLinear({prefix + "down_proj"});
  return Mlp(std::move(gate_up), std::move(down));
}

RmsNorm LoadNorm(const ModelConfig& config, const std::string& name,
                 WeightLoader& loader) {
  return RmsNorm(loader.Load(name + ".weight"), config.rms_norm_eps);
}

std::vector<LlamaLayer> LoadLayers(const ModelConfig& config,
                                   WeightLoader& loader) {
  std::vector<LlamaLayer> layers;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string prefix = absl::StrCat("model.layers.", i, ".");
    // Braces keep the order of a layer's fields, which is the file's.
    layers.push_back(LlamaLayer{
        LoadNorm(config, prefix + "input_layernorm", loader),
        LoadAttention(config, prefix + "self_attn.", loader),
        LoadNorm(config, prefix + "post_attention_layernorm", loader),
        LoadMlp(prefix + "mlp.", loader)});
    loader.ReportProgress();
  }
  return layers;
}

Linear LoadHead(const ModelConfig& config, WeightLoader& loader) {
  return loader.LoadLinear(
      {config.tie_word_embeddings ? "model.embed_tokens" : "lm_head"});
}

}  // namespace

Llama::Llama(const ModelConfig& config, const Limits& limits,
             at::ScalarType dtype, WeightLoader& loader)
    : vocab_size_(config.vocab_size),
      embedding_(loader.Load("model.embed_tokens.weight")),
      layers_(LoadLayers(config, loader)),
      final_norm_(LoadNorm(config, "model.norm", loader)),
      head_(LoadHead(config, loader)),
      rope_(config.rope, config.head_dim, limits.max_positions),
      residual_(at::zeros({limits.max_rows, config.hidden_size}, dtype)),
      normed_(at::zeros({limits.max_rows, config.hidden_size}, dtype)),
      attended_(at::zeros({limits.max_rows, config.num_heads * config.head_dim},
                          dtype)),
      activated_(at::zeros({limits.max_rows, config.intermediate_size}, dtype)),
      logit_input_(
          at::zeros({limits.max_logit_rows, config.hidden_size}, dtype)),
      logits_(
          at::zeros({limits.max_logit_rows, config.vocab_size}, at::kFloat)) {
  loader.ReportProgress();
}

at::Tensor Llama::Forward(const BatchTensors& batch, KvCache& cache) {
  const int64_t num_rows = batch.num_rows();
  const at::Tensor residual = residual_.narrow(0, 0, num_rows);
  const at::Tensor normed = normed_.narrow(0, 0, num_rows);
  const at::Tensor attended = attended_.narrow(0, 0, num_rows);
  const at::Tensor activated = activated_.narrow(0, 0, num_rows);

  Embed(batch, residual);
  at::Tensor delta;  // what the layer before adds to the residual stream
  for (size_t i = 0; i < layers_.size(); ++i) {
    const LlamaLayer& layer = layers_[i];
    if (i == 0) {
      layer.input_norm(residual, normed);
    } else {
      layer.input_norm.AddAndNorm(residual, delta, normed);
    }
    delta = layer.attention(normed, batch, rope_,
                            cache.layer(static_cast<int64_t>(i)), attended);
    layer.post_attention_norm.AddAndNorm(residual, delta, normed);
    delta = layer.mlp(normed, activated);
  }
  final_norm_.AddAndNorm(residual, delta, normed);
  return normed;
}

void Llama::Embed(const BatchTensors& batch, const at::Tensor& out) const {
  kernels::WithKernels(out, [&]<typename T>(const KernelTable<T>& table) {
    table.gather_rows({.table = Data<T>(embedding_),
                       .ids = batch.token_ids.data(),
                       .out = Data<T>(out),
                       .num_rows = out.size(0),
                       .row_size = out.size(1)});
  });
}

at::Tensor Llama::Logits(const at::Tensor& hidden,
                         absl::Span<const int32_t> rows) {
  const auto num_rows = static_cast<int64_t>(rows.size());
  DROVER_CHECK(num_rows <= logits_.size(0));
  // Small products are padded like small steps.
  const int64_t padded = std::max<int64_t>(num_rows, kMinRows);
  const at::Tensor input = logit_input_.narrow(0, 0, padded);
  const at::Tensor out = logits_.narrow(0, 0, num_rows);
  kernels::WithKernels(hidden, [&]<typename T>(const KernelTable<T>& table) {
    table.gather_rows({.table = Data<T>(hidden),
                       .ids = rows.data(),
                       .out = Data<T>(input),
                       .num_rows = num_rows,
                       .row_size = hidden.size(1)});
    const at::Tensor logits = head_(input);
    table.to_float({.x = Data<T>(logits),
                    .out = Data<float>(out),
                    .size = num_rows * vocab_size_});
  });
  return out;
}

Llama::Limits LlamaLimits(int32_t max_step_tokens,
                          int32_t max_sequence_length) {
  // Bounds the memory of logits: 64 rows of 128k entries are 48 MiB.
  constexpr int64_t kMaxLogitRows = 64;
  const int64_t max_rows = std::max(max_step_tokens, kMinRows);
  return {.max_rows = max_rows,
          .max_positions = max_sequence_length,
          .max_logit_rows = std::min(max_rows, kMaxLogitRows)};
}

int64_t LlamaBytes(const ModelConfig& config, const Llama::Limits& limits,
                   DType dtype) {
  const int64_t element = DTypeBytes(dtype);
  const int64_t tied_head =
      config.tie_word_embeddings ? config.vocab_size * config.hidden_size : 0;
  // Three rows of every kind are alive at once: input, product, sum.
  const int64_t row = 3 * (config.hidden_size + config.intermediate_size +
                           config.num_heads * config.head_dim);
  return (config.num_parameters() + tied_head) * element +
         limits.max_rows * row * element +
         limits.max_logit_rows * config.vocab_size * (4 + element) +
         limits.max_positions * config.head_dim * 4;
}

}  // namespace drover
