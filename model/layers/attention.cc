#include "model/layers/attention.h"

#include <cmath>
#include <utility>

#include "model/kernels/kernel_dispatch.h"

namespace drover {

using kernels::Data;
using kernels::KernelTable;

Attention::Attention(const ModelConfig& config, Linear qkv, Linear o)
    : num_heads_(static_cast<int32_t>(config.num_heads)),
      num_kv_heads_(static_cast<int32_t>(config.num_kv_heads)),
      head_dim_(static_cast<int32_t>(config.head_dim)),
      window_(static_cast<int32_t>(config.sliding_window)),
      qkv_(std::move(qkv)),
      o_(std::move(o)) {}

void Attention::Attend(const at::Tensor& x, const BatchTensors& batch,
                       const RotaryEmbedding& rope, LayerKvCache& cache,
                       const at::Tensor& out) const {
  const at::Tensor qkv = qkv_(x);
  RopeAppend(qkv, batch, rope, cache);
  AttendPaged(qkv, batch, cache, out);
}

void Attention::RopeAppend(const at::Tensor& qkv, const BatchTensors& batch,
                           const RotaryEmbedding& rope,
                           LayerKvCache& cache) const {
  kernels::WithKernels(qkv, [&]<typename T>(const KernelTable<T>& table) {
    table.rope_append({.qkv = Data<T>(qkv),
                       .positions = batch.positions.data(),
                       .slots = batch.kv_slots.data(),
                       .cos = Data<float>(rope.cos),
                       .sin = Data<float>(rope.sin),
                       .k_cache = Data<T>(cache.k),
                       .v_cache = Data<T>(cache.v),
                       .num_tokens = qkv.size(0),
                       .num_heads = num_heads_,
                       .num_kv_heads = num_kv_heads_,
                       .head_dim = head_dim_});
  });
}

void Attention::AttendPaged(const at::Tensor& qkv, const BatchTensors& batch,
                            const LayerKvCache& cache,
                            const at::Tensor& out) const {
  kernels::WithKernels(qkv, [&]<typename T>(const KernelTable<T>& table) {
    table.paged_attention(
        {.q = Data<T>(qkv),
         .q_stride = qkv.size(1),
         .k_cache = Data<T>(cache.k),
         .v_cache = Data<T>(cache.v),
         .query_start = batch.query_start.data(),
         .kv_len = batch.kv_len.data(),
         .block_tables = batch.block_tables.data(),
         .out = Data<T>(out),
         .num_seqs = batch.num_sequences(),
         .max_blocks_per_seq = batch.max_blocks_per_sequence,
         .num_heads = num_heads_,
         .num_kv_heads = num_kv_heads_,
         .head_dim = head_dim_,
         .window = window_,
         .scale = 1.0f / std::sqrt(static_cast<float>(head_dim_))});
  });
}

}  // namespace drover
