#pragma once

#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"
#include "model/kernels/kernels.h"

// Products of a warpgroup on Hopper's tensor cores. Factors in shared memory
// are in rows of 64 elements whose 16-byte chunks are swizzled as the copy
// engine does it (CU_TENSOR_MAP_SWIZZLE_128B). Only in code for sm_90a.

namespace drover::kernels::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// What wgmma is told of a factor (PTX ISA, "Matrix descriptor"): eight rows
// make a swizzled group of 1024 bytes, on which the first row is aligned.
__device__ __forceinline__ uint64_t SwizzledRows(uint32_t address,
                                                 uint32_t leading_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kGroupBytes = uint64_t{1024 >> 4} << 32;
  return kSwizzle128 | kGroupBytes | uint64_t{leading_bytes >> 4} << 16 |
         static_cast<uint64_t>((address & 0x3ffff) >> 4);
}

// Of one whose depth is contiguous; `address` is that of its first row plus 32
// bytes for every 16 of depth.
__device__ __forceinline__ uint64_t SwizzledFactor(uint32_t address) {
  return SwizzledRows(address, /*leading_bytes=*/16);
}

// Of one whose columns are contiguous: a row for each of the depth, and the
// columns from 64 on `half_bytes` further than those before.
__device__ __forceinline__ uint64_t SwizzledColumns(uint32_t address,
                                                    uint32_t half_bytes) {
  return SwizzledRows(address, half_bytes);
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

// Operands of the next: the registers of `sums`, by name and by number.
#define DROVER_SUMS(i) \
  "+f"(sums[i][0]), "+f"(sums[i][1]), "+f"(sums[i][2]), "+f"(sums[i][3])
#define DROVER_SUMS_8                                             \
  DROVER_SUMS(0), DROVER_SUMS(1), DROVER_SUMS(2), DROVER_SUMS(3), \
      DROVER_SUMS(4), DROVER_SUMS(5), DROVER_SUMS(6), DROVER_SUMS(7)
#define DROVER_SUMS_16                                                    \
  DROVER_SUMS_8, DROVER_SUMS(8), DROVER_SUMS(9), DROVER_SUMS(10),         \
      DROVER_SUMS(11), DROVER_SUMS(12), DROVER_SUMS(13), DROVER_SUMS(14), \
      DROVER_SUMS(15)
#define DROVER_REGISTERS_32                                 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "           \
  "%11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
  "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define DROVER_REGISTERS_64                                   \
  DROVER_REGISTERS_32                                         \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, " \
  "%43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, "   \
  "%54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// The same with 128 rows of b; sums[j] are those of columns 8 j ... 8 j + 7.
#define DROVER_MULTIPLY_128(TYPE, PTX)                                      \
  __device__ __forceinline__ void Multiply(                                 \
      TYPE, uint64_t a, uint64_t b, bool accumulate, float(&sums)[16][4]) { \
    asm volatile(                                                           \
        "{.reg .pred p; setp.ne.b32 p, %66, 0; "                            \
        "wgmma.mma_async.sync.aligned.m64n128k16.f32." PTX "." PTX          \
        " {" DROVER_REGISTERS_64 "}, %64, %65, p, 1, 1, 0, 0;}"             \
        : DROVER_SUMS_16                                                    \
        : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));               \
  }
DROVER_MULTIPLY_128(BFloat16, "bf16")
DROVER_MULTIPLY_128(Float16, "f16")
#undef DROVER_MULTIPLY_128

// sums += a . b of depth 16, where a has 64 rows, in registers as mma.sync
// m16n8k16 takes each warp's 16, and b has 64 or 128 columns. a may change when
// the product is awaited, not before.
#define DROVER_ADD_PRODUCT(TYPE, PTX)                                          \
  __device__ __forceinline__ void AddProduct(TYPE, const uint32_t(&a)[4],      \
                                             uint64_t b, float(&sums)[8][4]) { \
    asm volatile(                                                              \
        "{.reg .pred p; setp.eq.u32 p, 0, 0; "                                 \
        "wgmma.mma_async.sync.aligned.m64n64k16.f32." PTX "." PTX              \
        " {" DROVER_REGISTERS_32                                               \
        "}, {%32, %33, %34, %35}, %36, "                                       \
        "p, 1, 1, 1;}"                                                         \
        : DROVER_SUMS_8                                                        \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                 \
  }                                                                            \
  __device__ __forceinline__ void AddProduct(                                  \
      TYPE, const uint32_t(&a)[4], uint64_t b, float(&sums)[16][4]) {          \
    asm volatile(                                                              \
        "{.reg .pred p; setp.eq.u32 p, 0, 0; "                                 \
        "wgmma.mma_async.sync.aligned.m64n128k16.f32." PTX "." PTX             \
        " {" DROVER_REGISTERS_64                                               \
        "}, {%64, %65, %66, %67}, %68, "                                       \
        "p, 1, 1, 1;}"                                                         \
        : DROVER_SUMS_16                                                       \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                 \
  }
DROVER_ADD_PRODUCT(BFloat16, "bf16")
DROVER_ADD_PRODUCT(Float16, "f16")
#undef DROVER_ADD_PRODUCT
#undef DROVER_REGISTERS_64
#undef DROVER_REGISTERS_32
#undef DROVER_SUMS_16
#undef DROVER_SUMS_8
#undef DROVER_SUMS

// Keeps the compiler from using sums before the products that they await.
template <int kColumns>
__device__ __forceinline__ void HoldSums(float (&sums)[kColumns][4]) {
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) asm volatile("" : "+f"(sums[i][j])::"memory");
  }
}

#endif

}  // namespace drover::kernels::cuda
