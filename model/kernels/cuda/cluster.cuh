#pragma once

#include <cstdint>

// Thread block clusters, whose members read each other's shared memory. Before
// Hopper there are none: a kernel is then not to be launched with one.

namespace drover::kernels::cuda {

// Until all threads of the cluster are here; what they wrote to shared memory
// before is seen after. Whole warps.
__device__ __forceinline__ void AwaitCluster() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
#endif
}

// Where `local`, in this thread block's shared memory, is in that of `rank`.
__device__ __forceinline__ const float* InCluster(const float* local,
                                                  int32_t rank) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  const float* remote = nullptr;
  asm("mapa.u64 %0, %1, %2;" : "=l"(remote) : "l"(local), "r"(rank));
  return remote;
#else
  return local;
#endif
}

}  // namespace drover::kernels::cuda
