#include "model/kernels/cuda/all_reduce.h"

#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/group_region.cuh"

namespace drover::kernels::cuda {
namespace {

// to[i] = the sum of what all ranks show, for this block's share.
template <typename T>
__device__ void AddShown(const GroupCall& call, int32_t world_size,
                         int64_t begin, int64_t end, T* to) {
  ForShare<T>(begin, end, [&](int64_t i, auto n) {
    float sum[n] = {};
    for (int32_t rank = 0; rank < world_size; ++rank) {
      float theirs[n];
      LoadFloats(call.Shown<T>(rank) + i, theirs);
#pragma unroll
      for (int k = 0; k < n; ++k) sum[k] += theirs[k];
    }
    StoreFloats(to + i, sum);
  });
}

template <typename T>
__global__ void __launch_bounds__(kGroupThreads)
    OneShotKernel(const __grid_constant__ AllReduceArgs<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  GroupCall call(args.group);
  CopyShare(args.data, call.Shown<T>(args.group.rank), 0, args.count);
  call.Meet();
  AddShown(call, args.group.world_size, 0, args.count, args.data);
  call.End();
}

// Where a rank's share of the sums begins.
template <typename T>
__device__ int64_t ShareBegin(const AllReduceArgs<T>& args, int32_t rank) {
  constexpr int64_t kSize = Vec<T>::kSize;
  const int64_t accesses = (args.count + kSize - 1) / kSize;
  const int64_t begin = accesses * rank / args.group.world_size * kSize;
  return begin < args.count ? begin : args.count;
}

template <typename T>
__global__ void __launch_bounds__(kGroupThreads)
    TwoShotKernel(const __grid_constant__ AllReduceArgs<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  GroupCall call(args.group);
  const int32_t own = args.group.rank;
  // A block copies what the blocks of its number read: shares of shares.
  const auto for_ranks = [&](auto function) {
    for (int32_t rank = 0; rank < args.group.world_size; ++rank) {
      function(rank, ShareBegin(args, rank), ShareBegin(args, rank + 1));
    }
  };
  for_ranks([&](int32_t, int64_t begin, int64_t end) {
    CopyShare(args.data, call.Shown<T>(own), begin, end);
  });
  call.Meet();
  // Nobody but this rank reads its own place of its own share before the next
  // meeting.
  AddShown(call, args.group.world_size, ShareBegin(args, own),
           ShareBegin(args, own + 1), call.Shown<T>(own));
  call.Meet();
  for_ranks([&](int32_t rank, int64_t begin, int64_t end) {
    CopyShare(call.Shown<T>(rank), args.data, begin, end);
  });
  call.End();
}

}  // namespace

size_t GroupRegionBytes(size_t max_bytes) {
  return kGroupSignalBytes + 2 * RegionAligned(max_bytes);
}

template <typename T>
void OneShotAllReduce(const AllReduceArgs<T>& args, CudaStream stream) {
  Launch(OneShotKernel<T>, GroupLaunch(args.group), stream, args);
}

template <typename T>
void TwoShotAllReduce(const AllReduceArgs<T>& args, CudaStream stream) {
  Launch(TwoShotKernel<T>, GroupLaunch(args.group), stream, args);
}

#define DROVER_INSTANTIATE(T)                                          \
  template void OneShotAllReduce(const AllReduceArgs<T>&, CudaStream); \
  template void TwoShotAllReduce(const AllReduceArgs<T>&, CudaStream)
DROVER_INSTANTIATE(float);
DROVER_INSTANTIATE(Float16);
DROVER_INSTANTIATE(BFloat16);
#undef DROVER_INSTANTIATE

}  // namespace drover::kernels::cuda
