#pragma once

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "model/batch_tensors.h"
#include "model/kv_cache.h"
#include "model/layers/linear.h"
#include "model/layers/rotary_embedding.h"
#include "model/model_config.h"

namespace drover {

// Causal self-attention with grouped queries (Ainslie et al., "GQA", 2023) over
// the paged KV cache. Immutable.
class Attention {
 public:
  // qkv: the rows of q, k and v, in this order.
  Attention(const ModelConfig& config, Linear qkv, Linear o);

  // x: [num_rows, hidden_size]; out: [num_rows, num_heads * head_dim]. Appends
  // to `cache` the keys and values of the step's tokens.
  void Attend(const at::Tensor& x, const BatchTensors& batch,
              const RotaryEmbedding& rope, LayerKvCache& cache,
              const at::Tensor& out) const;
  // Of all rows that Attend wrote, or of some. Returns a new tensor
  // [num_rows, hidden_size].
  at::Tensor Project(const at::Tensor& attended) const { return o_(attended); }

 private:
  void RopeAppend(const at::Tensor& qkv, const BatchTensors& batch,
                  const RotaryEmbedding& rope, LayerKvCache& cache) const;
  void AttendPaged(const at::Tensor& qkv, const BatchTensors& batch,
                   const LayerKvCache& cache, const at::Tensor& out) const;

  int32_t num_heads_;
  int32_t num_kv_heads_;
  int32_t head_dim_;
  int32_t window_;  // keys a query sees; 0: all
  Linear qkv_;
  Linear o_;
};

}  // namespace drover
