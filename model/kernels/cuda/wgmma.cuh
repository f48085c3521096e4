#pragma once

#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"
#include "model/kernels/kernels.h"

// Products of a warpgroup on Hopper's tensor cores: both factors in shared
// memory, their depth contiguous, in rows of 64 elements whose 16-byte chunks
// are swizzled as the copy engine does it (CU_TENSOR_MAP_SWIZZLE_128B). Only in
// code for sm_90a.

namespace drover::kernels::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// What wgmma is told of a factor; `address` is that of its first row plus 32
// bytes for every 16 of depth. Eight rows make a swizzled group of 1024 bytes,
// on which the first row is aligned. (PTX ISA, "Matrix descriptor".)
__device__ __forceinline__ uint64_t SwizzledFactor(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kGroupBytes = uint64_t{1024 >> 4} << 32;
  return kSwizzle128 | kGroupBytes | uint64_t{1} << 16 |
         static_cast<uint64_t>((address & 0x3ffff) >> 4);
}

// Around products: before the first one and after other use of their sums.
__device__ __forceinline__ void BeginProducts() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void EndProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until all but the last kPending groups are done.
template <int kPending>
__device__ __forceinline__ void AwaitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// sums (+)= a . b^T of depth 16, where a has 64 rows and b 8, 16, 32 or 64; the
// old sums are dropped unless `accumulate`. Thread i of the warpgroup holds of
// rows 16 (i / 32) + i % 32 / 4 and that + 8 the columns 8 j + i % 4 * 2 and
// that + 1: sums[4 j ... 4 j + 3], the first row's two first.
#define DROVER_MULTIPLY(TYPE, PTX)                                             \
  __device__ __forceinline__ void Multiply(TYPE, uint64_t a, uint64_t b,       \
                                           bool accumulate, float(&sums)[4]) { \
    asm volatile(                                                              \
        "{.reg .pred p; setp.ne.b32 p, %6, 0; "                                \
        "wgmma.mma_async.sync.aligned.m64n8k16.f32." PTX "." PTX               \
        " {"                                                                   \
        "%0, %1, %2, %3"                                                       \
        "}, %4, %5, p, 1, 1, 0, 0;}"                                           \
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])           \
        : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));                  \
  }                                                                            \
  __device__ __forceinline__ void Multiply(TYPE, uint64_t a, uint64_t b,       \
                                           bool accumulate, float(&sums)[8]) { \
    asm volatile(                                                              \
        "{.reg .pred p; setp.ne.b32 p, %10, 0; "                               \
        "wgmma.mma_async.sync.aligned.m64n16k16.f32." PTX "." PTX              \
        " {"                                                                   \
        "%0, %1, %2, %3, %4, %5, %6, %7"                                       \
        "}, %8, %9, p, 1, 1, 0, 0;}"                                           \
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]),          \
          "+f"(sums[4]), "+f"(sums[5]), "+f"(sums[6]), "+f"(sums[7])           \
        : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));                  \
  }                                                                            \
  __device__ __forceinline__ void Multiply(                                    \
      TYPE, uint64_t a, uint64_t b, bool accumulate, float(&sums)[16]) {       \
    asm volatile(                                                              \
        "{.reg .pred p; setp.ne.b32 p, %18, 0; "                               \
        "wgmma.mma_async.sync.aligned.m64n32k16.f32." PTX "." PTX              \
        " {"                                                                   \
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "                   \
        "%12, %13, %14, %15"                                                   \
        "}, %16, %17, p, 1, 1, 0, 0;}"                                         \
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]),          \
          "+f"(sums[4]), "+f"(sums[5]), "+f"(sums[6]), "+f"(sums[7]),          \
          "+f"(sums[8]), "+f"(sums[9]), "+f"(sums[10]), "+f"(sums[11]),        \
          "+f"(sums[12]), "+f"(sums[13]), "+f"(sums[14]), "+f"(sums[15])       \
        : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));                  \
  }                                                                            \
  __device__ __forceinline__ void Multiply(                                    \
      TYPE, uint64_t a, uint64_t b, bool accumulate, float(&sums)[32]) {       \
    asm volatile(                                                              \
        "{.reg .pred p; setp.ne.b32 p, %34, 0; "                               \
        "wgmma.mma_async.sync.aligned.m64n64k16.f32." PTX "." PTX              \
        " {"                                                                   \
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "                   \
        "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "         \
        "%24, %25, %26, %27, %28, %29, %30, %31"                               \
        "}, %32, %33, p, 1, 1, 0, 0;}"                                         \
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]),          \
          "+f"(sums[4]), "+f"(sums[5]), "+f"(sums[6]), "+f"(sums[7]),          \
          "+f"(sums[8]), "+f"(sums[9]), "+f"(sums[10]), "+f"(sums[11]),        \
          "+f"(sums[12]), "+f"(sums[13]), "+f"(sums[14]), "+f"(sums[15]),      \
          "+f"(sums[16]), "+f"(sums[17]), "+f"(sums[18]), "+f"(sums[19]),      \
          "+f"(sums[20]), "+f"(sums[21]), "+f"(sums[22]), "+f"(sums[23]),      \
          "+f"(sums[24]), "+f"(sums[25]), "+f"(sums[26]), "+f"(sums[27]),      \
          "+f"(sums[28]), "+f"(sums[29]), "+f"(sums[30]), "+f"(sums[31])       \
        : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));                  \
  }

DROVER_MULTIPLY(BFloat16, "bf16")
DROVER_MULTIPLY(Float16, "f16")
#undef DROVER_MULTIPLY

#endif

}  // namespace drover::kernels::cuda
