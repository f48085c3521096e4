#pragma once

#include <cstdint>

#include "model/kernels/bfloat16.h"

// The loops of a Llama layer that are not matrix products, over raw pointers.
//
// T, the element type of activations, weights and KV cache, is float or
// BFloat16. Arithmetic is float32 throughout; what is stored is rounded where
// Hugging Face's Llama rounds, unless said otherwise. Every array is dense and
// row-major unless a stride is given; strides count elements. Nothing is
// checked: sizes, ids and block numbers in range are the caller's duty.
// Outputs alias inputs only where said.
//
// A table of functions serves one device and element type. The CPU's tables
// are in model/kernels/cpu/cpu_kernels.h.

namespace drover::kernels {

// Tokens per KV block.
inline constexpr int32_t kKvBlockSize = 16;
inline constexpr int32_t kMaxHeadDim = 256;

// out[i] = table[ids[i]]. Embeddings; also the rows of a batch that go on to
// the LM head.
template <typename T>
struct GatherRowsArgs {
  const T* table = nullptr;      // [num_table_rows, row_size]
  const int32_t* ids = nullptr;  // [num_rows]
  T* out = nullptr;              // [num_rows, row_size]
  int64_t num_rows = 0;
  int64_t row_size = 0;
};

// out = weight * T(x / sqrt(mean(x^2) + epsilon)), per row.
template <typename T>
struct RmsNormArgs {
  const T* x = nullptr;       // [num_tokens, hidden_size]
  const T* weight = nullptr;  // [hidden_size]
  T* out = nullptr;           // [num_tokens, hidden_size]; may be x
  int64_t num_tokens = 0;
  int64_t hidden_size = 0;
  float epsilon = 1e-5f;
};

// residual += x; out = RmsNorm(residual).
template <typename T>
struct AddRmsNormArgs {
  T* residual = nullptr;      // [num_tokens, hidden_size], updated
  const T* x = nullptr;       // [num_tokens, hidden_size]
  const T* weight = nullptr;  // [hidden_size]
  T* out = nullptr;           // [num_tokens, hidden_size]; may be x
  int64_t num_tokens = 0;
  int64_t hidden_size = 0;
  float epsilon = 1e-5f;
};

// Rotates q and k of a fused projection and appends k and v to the cache. The
// pair of element i of a head is element i + head_dim / 2 ("rotate_half").
// q is rotated in place; the k and v columns of qkv are left as they are.
// Rounds once, after the rotation.
template <typename T>
struct RopeAppendArgs {
  T* qkv = nullptr;  // [num_tokens, (num_heads + 2 num_kv_heads) * head_dim]
  const int32_t* positions = nullptr;  // [num_tokens]
  // [num_tokens]: where the token lives in the cache,
  // block_table[position / 16] * 16 + position % 16. Different tokens have
  // different slots, except in a block that nobody reads.
  const int32_t* slots = nullptr;
  const float* cos = nullptr;  // [max_positions, head_dim / 2]
  const float* sin = nullptr;  // [max_positions, head_dim / 2]
  T* k_cache = nullptr;        // [num_blocks, num_kv_heads, 16, head_dim]
  T* v_cache = nullptr;        // [num_blocks, num_kv_heads, 16, head_dim]
  int64_t num_tokens = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;  // even
};

// Causal attention of new tokens over everything their sequence has in the
// cache, themselves included (so after RopeAppend). A batch mixes sequences
// with one new token (decode) and with many (prefill chunks):
//
//   new tokens 1, 3, 1 -> query_start = [0, 1, 4, 5]
//
// Query j of sequence s is at position kv_len[s] - num_queries(s) + j and sees
// the keys at 0 ... its own position, or the last `window` of these.
template <typename T>
struct PagedAttentionArgs {
  // [num_tokens, q_stride], of which the first num_heads * head_dim are q:
  // the qkv of RopeAppend serves as it is.
  const T* q = nullptr;
  int64_t q_stride = 0;
  const T* k_cache = nullptr;  // [num_blocks, num_kv_heads, 16, head_dim]
  const T* v_cache = nullptr;  // [num_blocks, num_kv_heads, 16, head_dim]
  const int32_t* query_start = nullptr;   // [num_seqs + 1]
  const int32_t* kv_len = nullptr;        // [num_seqs], new tokens included
  const int32_t* block_tables = nullptr;  // [num_seqs, max_blocks_per_seq]
  T* out = nullptr;                       // [num_tokens, num_heads * head_dim]
  int32_t num_seqs = 0;
  int32_t max_blocks_per_seq = 0;
  int32_t num_heads = 0;  // a multiple of num_kv_heads
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;  // even, at most kMaxHeadDim
  int32_t window = 0;    // keys a query sees, itself included; 0: all
  float scale = 0.0f;    // of q.k, usually 1 / sqrt(head_dim)
};

// out = T(silu(gate)) * up.
template <typename T>
struct SiluMulArgs {
  const T* gate_up = nullptr;  // [num_tokens, 2 * intermediate_size]
  T* out = nullptr;            // [num_tokens, intermediate_size]
  int64_t num_tokens = 0;
  int64_t intermediate_size = 0;
};

// out = float(x), for logits on their way to the sampler.
template <typename T>
struct ToFloatArgs {
  const T* x = nullptr;  // [size]
  float* out = nullptr;  // [size]
  int64_t size = 0;
};

// One device's implementation: `kernels.rms_norm({.x = ..., ...})`. On the CPU
// a call returns when the result is there; on a GPU it enqueues.
template <typename T>
struct KernelTable {
  void (*gather_rows)(const GatherRowsArgs<T>&) = nullptr;
  void (*rms_norm)(const RmsNormArgs<T>&) = nullptr;
  void (*add_rms_norm)(const AddRmsNormArgs<T>&) = nullptr;
  void (*rope_append)(const RopeAppendArgs<T>&) = nullptr;
  void (*paged_attention)(const PagedAttentionArgs<T>&) = nullptr;
  void (*silu_mul)(const SiluMulArgs<T>&) = nullptr;
  void (*to_float)(const ToFloatArgs<T>&) = nullptr;
};

}  // namespace drover::kernels
