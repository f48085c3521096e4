#include "model/kernels/cuda/all_reduce.h"

#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"

// Each rank copies its data to where all can read it, tells the others, waits
// for theirs, and adds up all of it. A block deals with its share alone and
// waits for the other ranks' blocks of its number only.
//
// There are two places for data, used in turn: a rank that begins a call may
// overwrite what it showed two calls ago, since it has seen every other rank
// begin the call in between, after the one that read it.

namespace drover::kernels::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kMaxBlocks = 24;  // few: other work goes on beside it

// The head of a region.
struct Signals {
  // By block, the calls that each rank has begun, told by that rank.
  uint32_t begun[kMaxBlocks][kMaxAllReduceRanks];
  // By block, the calls that this rank has begun.
  uint32_t calls[kMaxBlocks];
};
constexpr size_t kSignalBytes = (sizeof(Signals) + 255) / 256 * 256;

size_t Aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

__device__ __forceinline__ void StoreRelease(uint32_t* to, uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(to), "r"(value)
               : "memory");
}
__device__ __forceinline__ uint32_t LoadAcquire(const uint32_t* from) {
  uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];"
               : "=r"(value)
               : "l"(from)
               : "memory");
  return value;
}

template <typename T>
struct KernelArgs {
  OneShotArgs<T> call;
  size_t slot_bytes = 0;  // from one place for data to the next

  __device__ Signals& SignalsOf(int32_t rank) const {
    return *static_cast<Signals*>(call.regions[rank]);
  }
  __device__ T* Shown(int32_t rank, uint32_t turn) const {
    return reinterpret_cast<T*>(
        static_cast<unsigned char*>(call.regions[rank]) + kSignalBytes +
        turn * slot_bytes);
  }
};

// Tells all ranks' blocks of this number that this one has begun, and waits for
// theirs. Counters may wrap.
template <typename T>
__device__ void MeetRanks(const KernelArgs<T>& args, uint32_t call) {
  __syncthreads();  // the block's data is there
  const auto rank = static_cast<int32_t>(threadIdx.x);
  if (rank < args.call.world_size) {
    __threadfence_system();
    StoreRelease(&args.SignalsOf(rank).begun[blockIdx.x][args.call.rank], call);
    const uint32_t* theirs =
        &args.SignalsOf(args.call.rank).begun[blockIdx.x][rank];
    while (static_cast<int32_t>(LoadAcquire(theirs) - call) < 0) {
    }
  }
  __syncthreads();
}

template <typename T>
__global__ void __launch_bounds__(kThreads) OneShotKernel(KernelArgs<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  constexpr int kSize = Vec<T>::kSize;
  const OneShotArgs<T>& call = args.call;
  uint32_t& calls = args.SignalsOf(call.rank).calls[blockIdx.x];
  const uint32_t number = calls + 1;
  const int64_t step = int64_t{gridDim.x} * kThreads * kSize;
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kSize;
  // The end, where no whole access is left, is read and written by element.
  const auto for_share = [&](auto function) {
    for (int64_t i = first; i < call.count; i += step) {
      if (i + kSize <= call.count) {
        function(i, std::integral_constant<int, kSize>());
      } else {
        for (int64_t j = i; j < call.count; ++j) {
          function(j, std::integral_constant<int, 1>());
        }
      }
    }
  };
  T* const shown = args.Shown(call.rank, number % 2);
  for_share([&](int64_t i, auto n) {
    if constexpr (n == 1) {
      shown[i] = call.data[i];
    } else {
      StoreVec(shown + i, LoadVec(call.data + i));
    }
  });
  MeetRanks(args, number);
  for_share([&](int64_t i, auto n) {
    float sum[n] = {};
    for (int32_t rank = 0; rank < call.world_size; ++rank) {
      float theirs[n];
      LoadFloats(args.Shown(rank, number % 2) + i, theirs);
#pragma unroll
      for (int k = 0; k < n; ++k) sum[k] += theirs[k];
    }
    StoreFloats(call.data + i, sum);
  });
  if (threadIdx.x == 0) calls = number;
}

}  // namespace

size_t OneShotRegionBytes(size_t max_bytes) {
  return kSignalBytes + 2 * Aligned(max_bytes);
}

template <typename T>
void OneShotAllReduce(const OneShotArgs<T>& args, CudaStream stream) {
  // The same on every call: blocks count calls by themselves.
  const auto blocks = static_cast<uint32_t>(std::clamp<int64_t>(
      (static_cast<int64_t>(args.max_bytes) + kThreads * 16 - 1) /
          (kThreads * 16),
      1, kMaxBlocks));
  Launch(OneShotKernel<T>, {.grid = dim3(blocks), .block = kThreads}, stream,
         KernelArgs<T>{.call = args, .slot_bytes = Aligned(args.max_bytes)});
}

template void OneShotAllReduce(const OneShotArgs<float>&, CudaStream);
template void OneShotAllReduce(const OneShotArgs<Float16>&, CudaStream);
template void OneShotAllReduce(const OneShotArgs<BFloat16>&, CudaStream);

}  // namespace drover::kernels::cuda
