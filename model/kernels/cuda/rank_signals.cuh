#pragma once

#include <cstdint>

// How thread blocks of several ranks' kernels wait for each other: counters in
// memory that all of them map. A rank's data is written before its counter.

namespace drover::kernels::cuda {

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

// Called by one thread for each peer, after the block's writes and a barrier:
// tells the peer that this rank's block has begun `call`, and waits for the
// peer's. Counters may wrap.
__device__ __forceinline__ void MeetPeer(uint32_t* told, const uint32_t* heard,
                                         uint32_t call) {
  __threadfence_system();
  StoreRelease(told, call);
  while (static_cast<int32_t>(LoadAcquire(heard) - call) < 0) {
  }
}

// ---- Data that tells of its own arrival ----
//
// Sixteen bytes go as two accesses of sixteen, each word followed by the number
// of the call, after the protocol that NCCL calls LL: eight bytes arrive
// together, so no fence or counter is needed, at the price of twice the bytes.

__device__ __forceinline__ void StoreMarked(uint4* to, uint4 data,
                                            uint32_t call) {
  asm volatile("st.volatile.global.v4.u32 [%0], {%1, %2, %3, %2};" ::"l"(to),
               "r"(data.x), "r"(call), "r"(data.y)
               : "memory");
  asm volatile(
      "st.volatile.global.v4.u32 [%0], {%1, %2, %3, %2};" ::"l"(to + 1),
      "r"(data.z), "r"(call), "r"(data.w)
      : "memory");
}

// Waits until both have come.
__device__ __forceinline__ uint4 LoadMarked(const uint4* from, uint32_t call) {
  uint4 a;
  uint4 b;
  do {
    asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a.x), "=r"(a.y), "=r"(a.z), "=r"(a.w)
                 : "l"(from)
                 : "memory");
    asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(b.x), "=r"(b.y), "=r"(b.z), "=r"(b.w)
                 : "l"(from + 1)
                 : "memory");
  } while (a.y != call || a.w != call || b.y != call || b.w != call);
  return make_uint4(a.x, a.z, b.x, b.z);
}

}  // namespace drover::kernels::cuda
