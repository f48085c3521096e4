#pragma once

#include <cstdint>

// Reductions over a warp and over a thread block.

namespace drover::kernels::cuda {

inline constexpr uint32_t kAllLanes = 0xffffffffu;

template <typename T>
struct Plus {
  __device__ T operator()(const T& a, const T& b) const { return a + b; }
};

// Every lane gets the result.
template <typename T, typename Combine>
__device__ __forceinline__ T WarpReduce(T value, Combine combine) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// Every thread gets the result. All threads of the block call it; whole warps,
// at most 32. T is arithmetic.
template <typename T, typename Combine>
__device__ __forceinline__ T BlockReduce(T value, Combine combine, T identity) {
  __shared__ T per_warp[32];
  value = WarpReduce(value, combine);
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t num_warps = blockDim.x / 32;
  __syncthreads();  // the last call's readers are done
  if (lane == 0) per_warp[threadIdx.x / 32] = value;
  __syncthreads();
  return WarpReduce(lane < num_warps ? per_warp[lane] : identity, combine);
}

template <typename T>
__device__ __forceinline__ T BlockSum(T value) {
  return BlockReduce(value, Plus<T>(), T{0});
}

// RMSNorm's factor for a row of `size`, of which this thread has `squares`.
__device__ __forceinline__ float InverseRms(float squares, int64_t size,
                                            float epsilon) {
  return 1.0f / sqrtf(BlockSum(squares) / static_cast<float>(size) + epsilon);
}

}  // namespace drover::kernels::cuda
