#pragma once

#include <cstddef>
#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"
#include "model/kernels/kernels.h"

// Paged attention, as model/kernels/kernels.h defines it. Conventions of
// cuda_kernels.h.
//
// Rows that pad a batch: tokens at or after query_start[num_seqs] are left
// alone; a query of a sequence whose kv_len is 0 gets zeros. Scratch block 0
// may be named anywhere in a block table past the sequence's length.

namespace drover::kernels::cuda {

// Any even head_dim up to kMaxHeadDim, any group, all three types; one thread
// block per query and head. The reference for the other two, and what runs
// where they cannot. num_tokens: at least query_start[num_seqs].
template <typename T>
void PlainAttention(const PagedAttentionArgs<T>& args, int64_t num_tokens,
                    CudaStream stream);

// Whether DecodeAttention and PrefillAttention can run: 16-bit T (float never),
// head_dim 64 or 128, at most 16 query heads per key-value head, q_stride a
// multiple of 8.
template <typename T>
bool FastAttentionSupported(const PagedAttentionArgs<T>& args);

// Attention over a fused projection: queries, keys and values as the linear
// layer left them.
template <typename T>
struct RopeAttentionArgs {
  // q: the first column of [num_tokens, (num_heads + 2 num_kv_heads) *
  // head_dim], q_stride its row. The caches are those below.
  PagedAttentionArgs<T> attention;
  const float* cos = nullptr;  // [max_positions, head_dim / 2]
  const float* sin = nullptr;  // [max_positions, head_dim / 2]
  T* k_cache = nullptr;
  T* v_cache = nullptr;
  // Whether kv_len, query_start, block_tables and the caches hold what they
  // should before the kernel in front is complete, and before those that it
  // may run beside: then old keys are fetched at once.
  bool is_settled = false;
  // The kernel in front is a PrefillAttention with next_runs_beside, of other
  // sequences and other KV blocks: this one begins at once.
  bool runs_beside = false;
};

// RopeAppend and attention in one, the projection left as it is, for exactly
// one query per sequence, the newest: args.query_start[s + 1] = query_start[s]
// + 1. The keys of a sequence are split over thread blocks. Tensor cores; the
// query heads of a group share one read of the keys and values.
//
// workspace: DecodeWorkspaceBytes(), zeroed once before the first use; a call
// leaves it ready for the next one on the same stream.
template <typename T>
void DecodeAttention(const RopeAttentionArgs<T>& args, void* workspace,
                     CudaStream stream);

// Enough for DecodeAttention with up to max_seqs sequences.
size_t DecodeWorkspaceBytes(int32_t max_seqs, int32_t num_heads,
                            int32_t num_kv_heads, int32_t head_dim);

template <typename T>
struct PrefillAttentionArgs {
  PagedAttentionArgs<T> attention;
  int32_t num_tokens = 0;   // that q has: at least query_start[num_seqs]
  int32_t max_queries = 0;  // of a sequence, at least
  // The next kernel is a DecodeAttention that runs_beside. This one leaves it
  // as many multiprocessors as let both end soon, by the keys that decodes have
  // and its own pairs of a query and a key, both without regard to a window.
  bool next_runs_beside = false;
  int64_t num_keys_beside = 0;
  int64_t num_pairs = 0;
};

// Any number of queries per sequence; tensor cores. By the second where it can
// run, else by the first.
//
// workspace: PrefillWorkspaceBytes(), zeroed once before the first use; a call
// leaves it ready for the next one on the same stream.
template <typename T>
void PrefillAttention(const PrefillAttentionArgs<T>& args, void* workspace,
                      CudaStream stream);
template <typename T>
void Sm80PrefillAttention(const PrefillAttentionArgs<T>& args,
                          CudaStream stream);
// Only where Sm90PrefillSupported(): built for sm_90a, and a Hopper. Else
// nothing runs beside another kernel.
template <typename T>
void Sm90PrefillAttention(const PrefillAttentionArgs<T>& args, void* workspace,
                          CudaStream stream);
bool Sm90PrefillSupported();

// On the current device, for any arguments; 0 where the second cannot run.
size_t PrefillWorkspaceBytes();

}  // namespace drover::kernels::cuda
