#include "model/llama.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "ATen/ops/empty.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
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

Llama::Llama(const ModelConfig& config, const RankPartition& partition,
             const Limits& limits, at::ScalarType dtype, WeightLoader& loader,
             Collective* collective)
    : vocab_size_(config.vocab_size),
      vocab_(partition.vocab),
      collective_(collective),
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

absl::StatusOr<at::Tensor> Llama::Forward(const BatchTensors& batch,
                                          KvCache& cache) {
  const int64_t num_rows = batch.num_rows();
  at::Tensor residual = residual_.narrow(0, 0, num_rows);
  at::Tensor normed = normed_.narrow(0, 0, num_rows);
  at::Tensor attended = attended_.narrow(0, 0, num_rows);
  at::Tensor activated = activated_.narrow(0, 0, num_rows);

  DROVER_RETURN_IF_ERROR(Embed(batch, residual));
  at::Tensor delta;  // what the layer before adds to the residual stream
  for (size_t i = 0; i < layers_.size(); ++i) {
    const LlamaLayer& layer = layers_[i];
    if (i == 0) {
      layer.input_norm(residual, normed);
    } else {
      layer.input_norm.AddAndNorm(residual, delta, normed);
    }
    layer.attention.Attend(normed, batch, rope_,
                           cache.layer(static_cast<int64_t>(i)), attended);
    if (i + 1 == layers_.size() && !batch.wanted_rows.empty()) {
      // All that follows is for these rows alone.
      const at::Tensor rows = at::tensor(batch.wanted_rows);
      residual = at::index_select(residual, 0, rows);
      attended = at::index_select(attended, 0, rows);
      normed = normed.narrow(0, 0, rows.size(0));
      activated = activated.narrow(0, 0, rows.size(0));
    }
    delta = layer.attention.Project(attended);
    DROVER_RETURN_IF_ERROR(Sum(delta));
    layer.post_attention_norm.AddAndNorm(residual, delta, normed);
    delta = layer.mlp(normed, activated);
    DROVER_RETURN_IF_ERROR(Sum(delta));
  }
  final_norm_.AddAndNorm(residual, delta, normed);
  return normed;
}

absl::Status Llama::Sum(const at::Tensor& tensor) const {
  if (collective_ == nullptr) return absl::OkStatus();
  absl::Status status;
  kernels::WithKernels(tensor, [&]<typename T>(const KernelTable<T>&) {
    status = collective_->AllReduceSum(
        absl::MakeSpan(Data<T>(tensor), static_cast<size_t>(tensor.numel())));
  });
  return status;
}

absl::Status Llama::Embed(const BatchTensors& batch, const at::Tensor& out) {
  DROVER_RETURN_IF_ERROR(EmbedTokens(batch, out));
  // After the sum over ranks: each of them has a prefix's rows.
  const int64_t row_bytes = out.size(1) * out.element_size();
  auto* const rows = static_cast<char*>(out.mutable_data_ptr());
  for (const PrefixRows& prefix : batch.prefix_rows) {
    std::memcpy(rows + prefix.first_row * row_bytes, prefix.bytes.data(),
                prefix.bytes.size());
  }
  return absl::OkStatus();
}

absl::Status Llama::EmbedTokens(const BatchTensors& batch,
                                const at::Tensor& out) {
  if (collective_ == nullptr) {
    GatherEmbeddings(batch.token_ids, out);
    return absl::OkStatus();
  }
  // An id's row comes from the rank that has it; the others add zeros.
  const auto is_local = [this](int32_t id) {
    return id >= vocab_.begin && id < vocab_.end();
  };
  local_ids_.clear();
  for (const int32_t id : batch.token_ids) {
    local_ids_.push_back(is_local(id) ? id - static_cast<int32_t>(vocab_.begin)
                                      : 0);
  }
  GatherEmbeddings(local_ids_, out);
  for (int64_t row = 0; row < out.size(0); ++row) {
    if (!is_local(batch.token_ids[static_cast<size_t>(row)])) {
      out.select(0, row).zero_();
    }
  }
  return Sum(out);
}

void Llama::GatherEmbeddings(absl::Span<const int32_t> ids,
                             const at::Tensor& out) const {
  kernels::WithKernels(out, [&]<typename T>(const KernelTable<T>& table) {
    table.gather_rows({.table = Data<T>(embedding_),
                       .ids = ids.data(),
                       .out = Data<T>(out),
                       .num_rows = out.size(0),
                       .row_size = out.size(1)});
  });
}

absl::StatusOr<at::Tensor> Llama::Logits(const at::Tensor& hidden,
                                         absl::Span<const int32_t> rows) {
  const auto num_rows = static_cast<int64_t>(rows.size());
  DROVER_CHECK(num_rows <= logits_.size(0));
  // Small products are padded like small steps.
  const int64_t padded = std::max<int64_t>(num_rows, kMinRows);
  const at::Tensor input = logit_input_.narrow(0, 0, padded);
  const at::Tensor out = logits_.narrow(0, 0, num_rows);
  if (collective_ != nullptr) out.zero_();
  kernels::WithKernels(hidden, [&]<typename T>(const KernelTable<T>& table) {
    table.gather_rows({.table = Data<T>(hidden),
                       .ids = rows.data(),
                       .out = Data<T>(input),
                       .num_rows = num_rows,
                       .row_size = hidden.size(1)});
    const at::Tensor logits = head_(input);
    if (vocab_.size == vocab_size_) {
      table.to_float({.x = Data<T>(logits),
                      .out = Data<float>(out),
                      .size = num_rows * vocab_size_});
      return;
    }
    for (int64_t row = 0; row < num_rows; ++row) {
      table.to_float(
          {.x = Data<T>(logits) + row * vocab_.size,
           .out = Data<float>(out) + row * vocab_size_ + vocab_.begin,
           .size = vocab_.size});
    }
  });
  DROVER_RETURN_IF_ERROR(Sum(out));
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
