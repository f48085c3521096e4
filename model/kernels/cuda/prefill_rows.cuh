#pragma once

#include <cstdint>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/attention_args.cuh"
#include "model/kernels/cuda/mma.cuh"

// What the prefill kernels share: which rows a thread block has, a row being a
// query and one of the query heads that share a key-value head; and which keys
// they see.

namespace drover::kernels::cuda {

// One thread block's rows, of whole tokens.
struct RowBlock {
  int32_t sequence = 0;
  int32_t kv_head = 0;
  int32_t group = 1;
  int32_t num_rows = 0;
  int32_t first_token = 0;
  int32_t first_position = 0;
  int32_t reciprocal = 1 << 16;  // of group, rounded up

  __device__ bool IsRow(int32_t row) const { return row < num_rows; }
  __device__ int32_t Token(int32_t row) const {
    return first_token + TokenInBlock(row);
  }
  __device__ int32_t Position(int32_t row) const {
    return first_position + TokenInBlock(row);
  }
  // Of an array [num_tokens, num_heads * head_dim] whose rows are `stride`.
  __device__ int64_t Offset(int32_t row, int64_t stride,
                            int32_t head_dim) const {
    const int32_t token = TokenInBlock(row);
    const int32_t head = kv_head * group + row - token * group;
    return (first_token + token) * stride + int64_t{head} * head_dim;
  }

  // row / group, for up to 256 rows.
  __device__ int32_t TokenInBlock(int32_t row) const {
    return row * reciprocal >> 16;
  }
};

// What thread blocks deal with, by number: the longest come first, since they
// see the most keys; then it is the next key-value head's, the next sequence's.
struct RowItems {
  int32_t tokens_per_block = 1;
  int32_t row_blocks = 1;  // of the longest sequence
  int32_t num_kv_heads = 1;
  int32_t num_seqs = 1;
  int32_t group = 1;
  int32_t reciprocal = 1 << 16;

  __host__ __device__ int32_t count() const {
    return row_blocks * num_kv_heads * num_seqs;
  }

  // Without rows where the sequence is not as long.
  template <typename T>
  __device__ RowBlock Find(const PagedAttentionArgs<T>& args,
                           int32_t item) const {
    const int32_t per_row_block = num_kv_heads * num_seqs;
    const int32_t rest = item % per_row_block;
    RowBlock rows;
    rows.sequence = rest / num_kv_heads;
    rows.kv_head = rest % num_kv_heads;
    rows.group = group;
    rows.reciprocal = reciprocal;
    const int32_t begin = args.query_start[rows.sequence];
    const int32_t end = args.query_start[rows.sequence + 1];
    rows.first_token =
        begin + (row_blocks - 1 - item / per_row_block) * tokens_per_block;
    rows.num_rows =
        max(0, min(tokens_per_block, end - rows.first_token)) * group;
    rows.first_position = args.kv_len[rows.sequence] - (end - rows.first_token);
    return rows;
  }
};

template <typename T>
RowItems CountRowItems(const PrefillAttentionArgs<T>& args,
                       int32_t rows_per_block) {
  const PagedAttentionArgs<T>& attention = args.attention;
  const int32_t group = attention.num_heads / attention.num_kv_heads;
  const int32_t tokens = rows_per_block / group;
  return {.tokens_per_block = tokens,
          .row_blocks = (args.max_queries + tokens - 1) / tokens,
          .num_kv_heads = attention.num_kv_heads,
          .num_seqs = attention.num_seqs,
          .group = group,
          .reciprocal = ((1 << 16) + group - 1) / group};
}

// That some row of the block sees; from the beginning of a tile of kKeys on.
template <int kKeys, typename T>
__device__ __forceinline__ KeyRange
KeysOfRows(const PagedAttentionArgs<T>& args, const RowBlock& rows) {
  if (args.kv_len[rows.sequence] == 0) return {};
  const int32_t first_key =
      args.window > 0 ? max(0, rows.Position(0) + 1 - args.window) : 0;
  return {first_key / kKeys * kKeys, rows.Position(rows.num_rows - 1) + 1};
}

// The keys that a warp's 16 rows see.
struct Visibility {
  int32_t last[2] = {};       // of this thread's rows
  int32_t before[2] = {};     // the first is the one after it
  int32_t all_see_first = 0;  // that every row of the warp sees
  int32_t all_see_last = 0;
};

__device__ __forceinline__ Visibility FindVisibility(const RowBlock& rows,
                                                     int warp_row,
                                                     int32_t window) {
  const int row = warp_row + static_cast<int>(threadIdx.x % 32 / 4);
  Visibility visibility;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    visibility.last[r] = rows.Position(row + 8 * r);
    visibility.before[r] = window > 0 ? visibility.last[r] - window : -1;
  }
  visibility.all_see_last = rows.Position(warp_row);
  visibility.all_see_first =
      window > 0 ? rows.Position(warp_row + 15) - window + 1 : 0;
  return visibility;
}

// Hides those keys of [begin, begin + kKeys) that a row does not see.
template <int kKeys>
__device__ __forceinline__ void Mask(const Visibility& rows, int32_t begin,
                                     float (&scores)[kKeys / 8][4]) {
  if (begin >= rows.all_see_first && begin + kKeys - 1 <= rows.all_see_last) {
    return;
  }
  const int32_t first = begin + static_cast<int32_t>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int32_t key = first + 8 * n + i % 2;
      const bool is_visible =
          (key <= rows.last[i / 2]) & (key > rows.before[i / 2]);
      scores[n][i] = is_visible ? scores[n][i] : -INFINITY;
    }
  }
}

// A warp's 16 rows, from warp_row on.
template <int kHeadDim, typename T>
__device__ void StoreRows(const PagedAttentionArgs<T>& args,
                          const RowBlock& rows, int warp_row,
                          const RowState<kHeadDim>& state) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = SumOfRow(state.softmax.sum[r]);
    const int row = warp_row + lane / 4 + 8 * r;
    if (!rows.IsRow(row)) continue;
    const float inverse = sum != 0.0f ? 1.0f / sum : 0.0f;
    T* out = args.out +
             rows.Offset(row, int64_t{args.num_heads} * kHeadDim, kHeadDim) +
             lane % 4 * 2;
#pragma unroll
    for (int d = 0; d < kHeadDim / 8; ++d) {
      *reinterpret_cast<uint32_t*>(out + 8 * d) = PackPair<T>(
          state.acc[d][2 * r] * inverse, state.acc[d][2 * r + 1] * inverse);
    }
  }
}

}  // namespace drover::kernels::cuda
