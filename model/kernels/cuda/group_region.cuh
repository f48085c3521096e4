#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "model/kernels/cuda/all_reduce.h"
#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/rank_signals.cuh"

// What the calls of all_reduce.h have in common: each rank copies its data to
// where all can read it, tells the others and waits for theirs. A block deals
// with its share alone, and meets the other ranks' blocks of its number only.
//
// There are two places for data, used in turn: a rank that begins a call may
// overwrite what it showed two calls ago, since it has seen every other rank
// begin the call in between, after the one that read it.

namespace drover::kernels::cuda {

inline constexpr int kGroupThreads = 512;
inline constexpr int kMaxGroupBlocks = 64;

// The head of a region.
struct GroupSignals {
  // By block, the meetings that each rank has come to, told by that rank.
  uint32_t come[kMaxGroupBlocks][kMaxGroupRanks];
  // By block, the meetings that this rank has come to, and its calls.
  uint32_t meetings[kMaxGroupBlocks];
  uint32_t calls[kMaxGroupBlocks];
};

constexpr size_t RegionAligned(size_t bytes) {
  return (bytes + 255) / 256 * 256;
}
constexpr size_t kGroupSignalBytes = RegionAligned(sizeof(GroupSignals));

// The same on every call: blocks count calls by themselves.
inline LaunchShape GroupLaunch(const GroupArgs& args) {
  const auto blocks = static_cast<uint32_t>(std::clamp<int64_t>(
      (static_cast<int64_t>(args.max_bytes) + kGroupThreads * 16 - 1) /
          (kGroupThreads * 16),
      1, kMaxGroupBlocks));
  return {.grid = dim3(blocks), .block = kGroupThreads};
}

// One block's side of a call. Every thread makes one, uses it alike, and Ends
// it.
class GroupCall {
 public:
  __device__ explicit GroupCall(const GroupArgs& args)
      : args_(args),
        meeting_(Signals(args.rank).meetings[blockIdx.x]),
        number_(Signals(args.rank).calls[blockIdx.x] + 1) {}

  // Where `rank` shows its data.
  template <typename T>
  __device__ T* Shown(int32_t rank) const {
    return reinterpret_cast<T*>(
        static_cast<unsigned char*>(args_.regions[rank]) + kGroupSignalBytes +
        number_ % 2 * RegionAligned(args_.max_bytes));
  }

  // What the blocks of this number wrote before, all read after it.
  __device__ void Meet() {
    ++meeting_;
    __syncthreads();  // the block's data is there
    const auto rank = static_cast<int32_t>(threadIdx.x);
    if (rank < args_.world_size) {
      MeetPeer(&Signals(rank).come[blockIdx.x][args_.rank],
               &Signals(args_.rank).come[blockIdx.x][rank], meeting_);
    }
    __syncthreads();
  }

  __device__ void End() const {
    if (threadIdx.x != 0) return;
    Signals(args_.rank).meetings[blockIdx.x] = meeting_;
    Signals(args_.rank).calls[blockIdx.x] = number_;
  }

 private:
  __device__ GroupSignals& Signals(int32_t rank) const {
    return *static_cast<GroupSignals*>(args_.regions[rank]);
  }

  const GroupArgs& args_;
  uint32_t meeting_;
  uint32_t number_;
};

// Calls function(i, n) for this block's share of [begin, end), with n =
// Vec<T>::kSize or, where no whole access is left, 1. begin: aligned.
template <typename T, typename Function>
__device__ __forceinline__ void ForShare(int64_t begin, int64_t end,
                                         Function function) {
  constexpr int kSize = Vec<T>::kSize;
  const int64_t step = int64_t{gridDim.x} * kGroupThreads * kSize;
  const int64_t first =
      begin + (int64_t{blockIdx.x} * kGroupThreads + threadIdx.x) * kSize;
  for (int64_t i = first; i < end; i += step) {
    if (i + kSize <= end) {
      function(i, std::integral_constant<int, kSize>());
    } else {
      for (int64_t j = i; j < end; ++j) {
        function(j, std::integral_constant<int, 1>());
      }
    }
  }
}

// Copies this block's share.
template <typename T>
__device__ __forceinline__ void CopyShare(const T* from, T* to, int64_t begin,
                                          int64_t end) {
  ForShare<T>(begin, end, [&](int64_t i, auto n) {
    if constexpr (n == 1) {
      to[i] = from[i];
    } else {
      StoreGlobal(to + i, LoadVec(from + i));
    }
  });
}

}  // namespace drover::kernels::cuda
