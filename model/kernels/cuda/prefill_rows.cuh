#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "model/kernels/cuda/attention_args.cuh"
#include "model/kernels/cuda/cluster.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mma.cuh"
#include "model/kernels/cuda/reduce.cuh"

// What the prefill kernels share: which rows a thread block has, a row being a
// query and one of the query heads that share a key-value head; which keys they
// see; and how the members of a thread block cluster, which divide the keys
// where there are too few rows to fill the multiprocessors, join their results.

namespace drover::kernels::cuda {

inline constexpr int32_t kMaxKeySplits = 8;  // as any cluster may have

// One thread block's rows.
struct RowBlock {
  int32_t sequence = 0;
  int32_t kv_head = 0;
  int32_t group = 1;
  int32_t first_row = 0;    // of the sequence's queries times group
  int32_t num_rows = 0;     // of the sequence, all blocks
  int32_t first_token = 0;  // of the sequence's queries
  int32_t first_position = 0;

  __device__ bool IsRow(int32_t row) const {
    return first_row + row < num_rows;
  }
  __device__ int32_t Token(int32_t row) const {
    return first_token + (first_row + row) / group;
  }
  __device__ int32_t Position(int32_t row) const {
    return first_position + (first_row + row) / group;
  }
  __device__ int32_t Head(int32_t row) const {
    return kv_head * group + (first_row + row) % group;
  }
  // Of an array [num_tokens, num_heads * head_dim] whose rows are `stride`.
  __device__ int64_t Offset(int32_t row, int64_t stride,
                            int32_t head_dim) const {
    return Token(row) * stride + int64_t{Head(row)} * head_dim;
  }
};

// Rows [row_block * kRows, (row_block + 1) * kRows) of a sequence and head.
template <int kRows, typename T>
__device__ RowBlock FindRows(const PagedAttentionArgs<T>& args,
                             int32_t sequence, int32_t kv_head,
                             int32_t row_block) {
  RowBlock rows;
  rows.sequence = sequence;
  rows.kv_head = kv_head;
  rows.group = args.num_heads / args.num_kv_heads;
  rows.first_token = args.query_start[sequence];
  const int32_t num_queries = args.query_start[sequence + 1] - rows.first_token;
  rows.num_rows = num_queries * rows.group;
  rows.first_row = row_block * kRows;
  rows.first_position = args.kv_len[sequence] - num_queries;
  return rows;
}

// What thread blocks deal with, by number: the longest come first, since they
// see the most keys; then it is the next key-value head's, the next sequence's.
struct RowItems {
  int32_t row_blocks = 1;  // of the longest sequence
  int32_t num_kv_heads = 1;
  int32_t num_seqs = 1;

  __host__ __device__ int32_t count() const {
    return row_blocks * num_kv_heads * num_seqs;
  }

  template <int kRows, typename T>
  __device__ RowBlock Find(const PagedAttentionArgs<T>& args,
                           int32_t item) const {
    const int32_t per_row_block = num_kv_heads * num_seqs;
    const int32_t rest = item % per_row_block;
    return FindRows<kRows>(args, rest / num_kv_heads, rest % num_kv_heads,
                           row_blocks - 1 - item / per_row_block);
  }
};

template <int kRows, typename T>
RowItems CountRowItems(const PagedAttentionArgs<T>& args, int32_t max_queries) {
  const int32_t rows = max_queries * (args.num_heads / args.num_kv_heads);
  return {.row_blocks = (rows + kRows - 1) / kRows,
          .num_kv_heads = args.num_kv_heads,
          .num_seqs = args.num_seqs};
}

// The clusters of 1, 2, ... thread blocks that run at once: fewer blocks than
// the multiprocessors have room for, where these do not come in such numbers.
using ClusterRoom = std::array<int32_t, kMaxKeySplits>;

// Of a kernel launched with `shape`, but for grid and cluster.
template <typename... Parameters>
ClusterRoom FindClusterRoom(void (*kernel)(Parameters...), LaunchShape shape) {
  ClusterRoom room = {};
  room[0] = std::numeric_limits<int32_t>::max();
  if (CurrentDevice().major < 9) return room;
  int per_multiprocessor = 0;
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel,
                                                static_cast<int>(shape.block),
                                                shape.shared_bytes);
  room[0] = per_multiprocessor * CurrentDevice().num_multiprocessors;
  for (uint32_t size = 2; size <= room.size(); ++size) {
    shape.cluster = size;
    room[size - 1] = MaxActiveClusters(kernel, shape);
  }
  return room;
}

// Among how many members of a cluster to divide the keys of each of `items`,
// for it to take the least time.
inline int32_t ChooseKeySplits(int32_t items, const ClusterRoom& room) {
  constexpr double kJoinCost = 0.03;  // of a block's walk over all keys
  int32_t best = 1;
  double best_time = std::numeric_limits<double>::infinity();
  for (int32_t splits = 1; splits <= kMaxKeySplits; ++splits) {
    const int32_t at_once = room[static_cast<size_t>(splits - 1)];
    if (at_once < 1) continue;
    const int32_t rounds = (items - 1) / at_once + 1;
    const double time =
        (splits > 1 ? kJoinCost : 0.0) + static_cast<double>(rounds) / splits;
    if (time < best_time) {
      best = splits;
      best_time = time;
    }
  }
  return best;
}

// The keys of one member of the cluster.
struct KeySplit {
  int32_t index = 0;
  int32_t count = 1;  // splits that have keys
  int32_t begin = 0;
  int32_t end = 0;
};

// Of the keys that some row of the block sees, in whole tiles of kKeys; at
// least min_tiles each, so that joining pays.
template <int kRows, int kKeys, typename T>
__device__ __forceinline__ KeySplit
FindKeySplit(const PagedAttentionArgs<T>& args, const RowBlock& rows,
             int32_t num_splits, int32_t min_tiles) {
  const int32_t last_row = min(kRows, rows.num_rows - rows.first_row) - 1;
  const int32_t end =
      args.kv_len[rows.sequence] == 0 ? 0 : rows.Position(last_row) + 1;
  const int32_t first_key =
      args.window > 0 ? max(0, rows.Position(0) + 1 - args.window) : 0;
  const int32_t begin = first_key / kKeys * kKeys;
  const int32_t num_tiles = (max(0, end - begin) + kKeys - 1) / kKeys;
  const int32_t per_split =
      max(min_tiles, (num_tiles + num_splits - 1) / num_splits);
  KeySplit split;
  split.index = static_cast<int32_t>(blockIdx.x) % num_splits;
  split.count = max(1, (num_tiles + per_split - 1) / per_split);
  split.begin = begin + split.index * per_split * kKeys;
  split.end = min(end, split.begin + per_split * kKeys);
  return split;
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

// Joins the rows of all splits; each member of the cluster stores its share of
// them, a warp a row. num_warps: those that call this, the block's first.
template <int kHeadDim, typename T>
__device__ void StoreJoined(const PagedAttentionArgs<T>& args,
                            const RowBlock& rows, const KeySplit& split,
                            int32_t num_rows, int32_t num_warps,
                            const float (*partials)[kPartialSize<kHeadDim>]) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const auto warp = static_cast<int32_t>(threadIdx.x / 32);
  for (int32_t row = warp * split.count + split.index; row < num_rows;
       row += num_warps * split.count) {
    if (!rows.IsRow(row)) return;
    const bool is_split = lane < split.count;
    const float* mine = InCluster(partials[row], is_split ? lane : 0);
    const float max_here = is_split ? mine[kHeadDim] : -INFINITY;
    const float sum = is_split ? mine[kHeadDim + 1] : 0.0f;
    const float max =
        WarpReduce(max_here, [](float a, float b) { return fmaxf(a, b); });
    // One without keys has no maximum; one whose sum is NaN counts.
    float weight = sum == 0.0f ? 0.0f : sum * exp2f(max_here - max);
    const float total = WarpReduce(weight, Plus<float>());
    weight = total != 0.0f ? weight / total : 0.0f;
    float means[kHeadDim / 32] = {};
    for (int32_t i = 0; i < split.count; ++i) {
      const float* other = InCluster(partials[row], i);
      const float its_weight = __shfl_sync(kAllLanes, weight, i);
#pragma unroll
      for (int d = 0; d < kHeadDim / 32; ++d) {
        means[d] += its_weight * other[32 * d + lane];
      }
    }
    T* out = args.out +
             rows.Offset(row, int64_t{args.num_heads} * kHeadDim, kHeadDim);
#pragma unroll
    for (int d = 0; d < kHeadDim / 32; ++d) {
      out[32 * d + lane] = FromFloat<T>(means[d]);
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
