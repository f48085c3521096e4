#pragma once

#include <cstddef>
#include <cstdint>

#include "model/kernels/cuda/all_reduce_norm.h"
#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/rank_signals.cuh"

// Where AllReduceNorm's ranks send rows to each other, and how often they have.
//
// There are two places for a row, used in turn: who has seen all ranks begin a
// call knows that they have ended the one before, so the place of the call
// before that is free. A row's calls are counted by that row alone.

namespace drover::kernels::cuda {

inline constexpr int kMaxReadBlocks = 512;

// The head of a region.
struct RowSignals {
  // By block, the calls that read which each rank has begun, told by that rank.
  uint32_t begun[kMaxReadBlocks][kMaxGroupRanks];
  // The calls that this rank has begun: by block, of those that read; by row,
  // of those that send.
  uint32_t reads[kMaxReadBlocks];
  uint32_t sends[kMaxSentTokens];
};
constexpr size_t kRowSignalBytes = (sizeof(RowSignals) + 255) / 256 * 256;

// Every word has its mark.
__host__ __device__ constexpr size_t SentRowBytes(int64_t hidden_size,
                                                  size_t element_bytes) {
  return (2 * static_cast<size_t>(hidden_size) * element_bytes + 255) / 256 *
         256;
}

__device__ __forceinline__ RowSignals& SignalsOf(const RankRegions& regions,
                                                 int32_t rank) {
  return *static_cast<RowSignals*>(regions[rank]);
}

// A call of one row: where its words are.
template <typename T>
struct SentRow {
  const RowGroup& group;
  int64_t hidden_size = 0;
  int64_t row = 0;
  uint32_t call = 0;  // the row's

  // Where `rank` finds elements [i, i + Vec<T>::kSize) of `source`'s.
  __device__ uint4* At(int32_t rank, int32_t source, int64_t i) const {
    const int64_t index =
        (int64_t{call % 2} * group.world_size + source) * kMaxSentTokens + row;
    auto* const begin = reinterpret_cast<uint4*>(
        static_cast<unsigned char*>(group.regions[rank]) + kRowSignalBytes +
        static_cast<size_t>(index) * SentRowBytes(hidden_size, sizeof(T)));
    return begin + 2 * (i / Vec<T>::kSize);
  }

  // To all other ranks.
  __device__ void Send(int64_t i, const Vec<T>& vec) const {
    for (int32_t rank = 0; rank < group.world_size; ++rank) {
      if (rank == group.rank) continue;
      StoreMarked(At(rank, group.rank, i), __builtin_bit_cast(uint4, vec),
                  call);
    }
  }

  // Adds up all ranks', once they are here: in float32, in the order of ranks.
  __device__ void Sum(int64_t i, const Vec<T>& own,
                      float (&sum)[Vec<T>::kSize]) const {
#pragma unroll
    for (int n = 0; n < Vec<T>::kSize; ++n) sum[n] = 0.0f;
    for (int32_t rank = 0; rank < group.world_size; ++rank) {
      const Vec<T> part =
          rank == group.rank
              ? own
              : __builtin_bit_cast(Vec<T>,
                                   LoadMarked(At(group.rank, rank, i), call));
#pragma unroll
      for (int n = 0; n < Vec<T>::kSize; ++n) sum[n] += AsFloat(part.values[n]);
    }
  }
};

}  // namespace drover::kernels::cuda
