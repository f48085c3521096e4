#pragma once

// Barriers of some of a thread block's warps, by number: 1 to 15, since the
// first is __syncthreads()'s.

namespace drover::kernels::cuda {

// Until `num_threads` are here or have passed NamedArrive; whole warps.
__device__ __forceinline__ void NamedSync(int barrier, int num_threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(num_threads) : "memory");
}

__device__ __forceinline__ void NamedArrive(int barrier, int num_threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(num_threads)
               : "memory");
}

}  // namespace drover::kernels::cuda
