#pragma once

#include <cstdint>

#include "model/kernels/kernels.h"

// What the attention kernels read from PagedAttentionArgs.

namespace drover::kernels::cuda {

// The last of `count` stretches, which begin in ascending order, the first at
// or before `place`, that begins there or before: those that begin with it and
// are not the last are empty.
__device__ inline int32_t StretchOf(int32_t place, const int32_t* begins,
                                    int32_t count) {
  int32_t low = 0;
  int32_t high = count - 1;
  while (low < high) {
    const int32_t middle = (low + high + 1) / 2;
    if (begins[middle] <= place) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Of the tokens' sequences, the one that `token` belongs to.
template <typename T>
__device__ int32_t SequenceOfToken(const PagedAttentionArgs<T>& args,
                                   int32_t token) {
  return StretchOf(token, args.query_start, args.num_seqs);
}

// Keys that a query sees: [begin, end). Empty for padding.
struct KeyRange {
  int32_t begin = 0;
  int32_t end = 0;
};

template <typename T>
__device__ KeyRange KeysOfQuery(const PagedAttentionArgs<T>& args,
                                int32_t sequence, int32_t token) {
  const int32_t kv_len = args.kv_len[sequence];
  if (kv_len == 0) return {};
  const int32_t end = kv_len - (args.query_start[sequence + 1] - 1 - token);
  return {args.window > 0 ? max(0, end - args.window) : 0, end};
}

// Finds a sequence's keys and values of one head by position.
template <typename T>
class CacheReader {
 public:
  __device__ CacheReader(const PagedAttentionArgs<T>& args, int32_t sequence,
                         int32_t kv_head)
      : k_(args.k_cache + int64_t{kv_head} * kKvBlockSize * args.head_dim),
        v_(args.v_cache + int64_t{kv_head} * kKvBlockSize * args.head_dim),
        table_(args.block_tables + int64_t{sequence} * args.max_blocks_per_seq),
        block_stride_(int64_t{args.num_kv_heads} * kKvBlockSize *
                      args.head_dim),
        head_dim_(args.head_dim) {}

  __device__ const T* Key(int32_t position) const {
    return k_ + Offset(position);
  }
  __device__ const T* Value(int32_t position) const {
    return v_ + Offset(position);
  }
  // Of position, into keys() and values().
  __device__ int64_t Offset(int32_t position) const {
    return OffsetOfBlock(BlockAt(position / kKvBlockSize)) +
           position % kKvBlockSize * head_dim_;
  }
  __device__ int32_t BlockAt(int32_t index) const { return table_[index]; }
  __device__ int64_t OffsetOfBlock(int32_t block) const {
    return block * block_stride_;
  }

  __device__ const T* keys() const { return k_; }
  __device__ const T* values() const { return v_; }

 private:
  const T* k_;
  const T* v_;
  const int32_t* table_;
  const int64_t block_stride_;
  const int32_t head_dim_;
};

}  // namespace drover::kernels::cuda
