#pragma once

#include <cuda.h>

#include <cstdint>

// Hopper's asynchronous copies into shared memory, and the barriers that say
// when they are there. Only in code for compute capability 9.0.

namespace drover::kernels::cuda {

__device__ __forceinline__ uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

// An address in shared memory, in that of another thread block of the cluster.
__device__ __forceinline__ uint32_t InRank(uint32_t address, int32_t rank) {
  uint32_t remote = 0;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(remote)
      : "r"(address), "r"(rank));
  return remote;
}

// An mbarrier in shared memory. A phase is complete when so many arrivals as it
// was initialised with and all bytes that were announced have come; phases
// alternate between 0 and 1.
class Barrier {
 public:
  __device__ explicit Barrier(uint64_t* barrier)
      : address_(SharedAddress(barrier)) {}

  __device__ void Init(uint32_t num_arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address_),
                 "r"(num_arrivals));
  }

  __device__ void Arrive() const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address_)
                 : "memory");
  }

  // Arrives, and announces bytes that copies will bring.
  __device__ void ArriveExpecting(uint32_t bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                     address_),
                 "r"(bytes)
                 : "memory");
  }

  __device__ void Wait(uint32_t phase) const {
    uint32_t done = 0;
    while (done == 0) {
      asm volatile(
          "{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], "
          "%2; selp.u32 %0, 1, 0, p; }"
          : "=r"(done)
          : "r"(address_), "r"(phase)
          : "memory");
    }
  }

  // Where the same barrier of another thread block of the cluster is.
  __device__ uint32_t In(int32_t rank) const { return InRank(address_, rank); }
  // There; what the warp did before comes first for who waits in the cluster.
  __device__ void ArriveAt(int32_t rank) const {
    asm volatile(
        "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(
            In(rank))
        : "memory");
  }
  __device__ void WaitInCluster(uint32_t phase) const {
    uint32_t done = 0;
    while (done == 0) {
      asm volatile(
          "{.reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta"
          ".b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
          : "=r"(done)
          : "r"(address_), "r"(phase)
          : "memory");
    }
  }

  __device__ uint32_t address() const { return address_; }

 private:
  uint32_t address_;
};

// Before the copy engine or wgmma uses what this thread wrote to shared memory.
__device__ __forceinline__ void PublishShared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// After the Inits of one thread, before copies and other threads use them.
__device__ __forceinline__ void PublishBarriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  PublishShared();
}

// For what passes through the L2 cache once, so that it makes way first.
__device__ __forceinline__ uint64_t EvictFirst() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;"
               : "=l"(policy));
  return policy;
}

// Starts the copy of `bytes` consecutive bytes, a multiple of 16.
__device__ __forceinline__ void StartBulkCopy(void* to, const void* from,
                                              uint32_t bytes, Barrier barrier,
                                              uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(SharedAddress(to)),
      "l"(from), "r"(bytes), "r"(barrier.address()), "l"(policy)
      : "memory");
}

// Sends four values to where `to` is in another thread block of the cluster;
// its `barrier` gets their 16 bytes. What the sender wrote before does not
// come with them.
__device__ __forceinline__ void SendTo(int32_t rank, const void* to,
                                       const float (&values)[4],
                                       Barrier barrier) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 "
      "[%0], {%1, %2, %3, %4}, [%5];" ::"r"(InRank(SharedAddress(to), rank)),
      "f"(values[0]), "f"(values[1]), "f"(values[2]), "f"(values[3]),
      "r"(barrier.In(rank))
      : "memory");
}

// Starts the copy of a map's box, which begins at 0 of the dimensions that are
// not named.
__device__ __forceinline__ void StartBoxCopy(uint32_t to,
                                             const CUtensorMap& map,
                                             Barrier barrier, int32_t third) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global"
      ".mbarrier::complete_tx::bytes [%0], [%1, {%3, %3, %4}], [%2];" ::"r"(to),
      "l"(&map), "r"(barrier.address()), "r"(0), "r"(third)
      : "memory");
}
__device__ __forceinline__ void StartBoxCopy(uint32_t to,
                                             const CUtensorMap& map,
                                             Barrier barrier, int32_t second,
                                             int32_t third, int32_t fourth) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global"
      ".mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(
          to),
      "l"(&map), "r"(barrier.address()), "r"(0), "r"(second), "r"(third),
      "r"(fourth)
      : "memory");
}
__device__ __forceinline__ void StartBoxCopy(uint32_t to,
                                             const CUtensorMap& map,
                                             Barrier barrier, uint64_t policy,
                                             int32_t fourth, int32_t fifth) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global"
      ".mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%4, %4, %4, %5, %6}], [%2], %3;" ::"r"(to),
      "l"(&map), "r"(barrier.address()), "l"(policy), "r"(0), "r"(fourth),
      "r"(fifth)
      : "memory");
}

#endif

}  // namespace drover::kernels::cuda
