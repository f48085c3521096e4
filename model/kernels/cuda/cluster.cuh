#pragma once

#include <cstdint>

// Thread block clusters, whose members read each other's shared memory. Before
// Hopper there are none: a kernel is then not to be launched with one.

namespace drover::kernels::cuda {

// The two halves of AwaitCluster: others go on from here; and others have come
// there. In turn. A block's memory may be used once it has come somewhere.
__device__ __forceinline__ void ArriveInCluster() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void AwaitArrivals() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// Until all threads of the cluster are here; what they wrote to shared memory
// before is seen after. Whole warps.
__device__ __forceinline__ void AwaitCluster() {
  ArriveInCluster();
  AwaitArrivals();
}

// Where `local`, in this thread block's shared memory, is in that of `rank`.
template <typename T>
__device__ __forceinline__ T* InCluster(T* local, int32_t rank) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  T* remote = nullptr;
  asm("mapa.u64 %0, %1, %2;" : "=l"(remote) : "l"(local), "r"(rank));
  return remote;
#else
  return local;
#endif
}

}  // namespace drover::kernels::cuda
