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
// make a swizzled group of 1024 bytes, on which the first row is aligned; the
// next group is group_bytes further. Where columns are contiguous and a row is
// one of the depth, the columns from 64 on are leading_bytes further.
__device__ __forceinline__ uint64_t SwizzledRows(uint32_t address,
                                                 uint32_t leading_bytes,
                                                 uint32_t group_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | uint64_t{group_bytes >> 4} << 32 |
         uint64_t{leading_bytes >> 4} << 16 |
         static_cast<uint64_t>((address & 0x3ffff) >> 4);
}

// Of one whose depth is contiguous; `address` is that of its first row plus 32
// bytes for every 16 of depth.
__device__ __forceinline__ uint64_t
SwizzledFactor(uint32_t address, uint32_t group_bytes = 1024) {
  return SwizzledRows(address, /*leading_bytes=*/16, group_bytes);
}

// All of a warpgroup keep or get so many registers each. A kernel's threads
// begin with equal shares; what some take others have to give back.
template <int kRegisters>
__device__ __forceinline__ void GiveBackRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
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

// The compiler moves an AwaitProducts that follows ahead of work that it does
// not see to depend on it, but not ahead of this store of what has come of it.
// One place for each warp.
__device__ __forceinline__ void PinBefore(float* in_shared, float result) {
  if (threadIdx.x % 32 != 0) return;
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(SharedAddress(in_shared)),
               "f"(result)
               : "memory");
}

// Operands of the next: the registers of `sums`, by name and by number.
#define DROVER_SUMS(i) \
  "+f"(sums[i][0]), "+f"(sums[i][1]), "+f"(sums[i][2]), "+f"(sums[i][3])
#define DROVER_SUMS_2 DROVER_SUMS(0), DROVER_SUMS(1)
#define DROVER_SUMS_4 DROVER_SUMS_2, DROVER_SUMS(2), DROVER_SUMS(3)
#define DROVER_SUMS_8 \
  DROVER_SUMS_4, DROVER_SUMS(4), DROVER_SUMS(5), DROVER_SUMS(6), DROVER_SUMS(7)
#define DROVER_SUMS_12                                            \
  DROVER_SUMS_8, DROVER_SUMS(8), DROVER_SUMS(9), DROVER_SUMS(10), \
      DROVER_SUMS(11)
#define DROVER_SUMS_14 DROVER_SUMS_12, DROVER_SUMS(12), DROVER_SUMS(13)
#define DROVER_SUMS_16 DROVER_SUMS_14, DROVER_SUMS(14), DROVER_SUMS(15)
#define DROVER_SUMS_20                                               \
  DROVER_SUMS_16, DROVER_SUMS(16), DROVER_SUMS(17), DROVER_SUMS(18), \
      DROVER_SUMS(19)
#define DROVER_SUMS_22 DROVER_SUMS_20, DROVER_SUMS(20), DROVER_SUMS(21)
#define DROVER_SUMS_24 DROVER_SUMS_22, DROVER_SUMS(22), DROVER_SUMS(23)
#define DROVER_SUMS_28                                               \
  DROVER_SUMS_24, DROVER_SUMS(24), DROVER_SUMS(25), DROVER_SUMS(26), \
      DROVER_SUMS(27)
#define DROVER_REGISTERS_4 "%0, %1, %2, %3"
#define DROVER_REGISTERS_8 DROVER_REGISTERS_4 ", %4, %5, %6, %7"
#define DROVER_REGISTERS_16 \
  DROVER_REGISTERS_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define DROVER_REGISTERS_32                                   \
  DROVER_REGISTERS_16                                         \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, " \
  "%27, %28, %29, %30, %31"
#define DROVER_REGISTERS_48                                        \
  DROVER_REGISTERS_32                                              \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, " \
  "%44, %45, %46, %47"
#define DROVER_REGISTERS_56 \
  DROVER_REGISTERS_48       \
  ", %48, %49, %50, %51, %52, %53, %54, %55"
#define DROVER_REGISTERS_64 \
  DROVER_REGISTERS_56       \
  ", %56, %57, %58, %59, %60, %61, %62, %63"
#define DROVER_REGISTERS_80                                        \
  DROVER_REGISTERS_64                                              \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, " \
  "%76, %77, %78, %79"
#define DROVER_REGISTERS_88 \
  DROVER_REGISTERS_80       \
  ", %80, %81, %82, %83, %84, %85, %86, %87"
#define DROVER_REGISTERS_96 \
  DROVER_REGISTERS_88       \
  ", %88, %89, %90, %91, %92, %93, %94, %95"
#define DROVER_REGISTERS_112                                               \
  DROVER_REGISTERS_96                                                      \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, " \
  "%108, %109, %110, %111"

// sums (+)= a . b^T of depth 16, where a has 64 rows and b 8, 16, 32, 64, 96,
// 112, 128, 160, 176, 192 or 224; the old sums are dropped unless `accumulate`.
// Thread i of the warpgroup holds of rows 16 (i / 32) + i % 32 / 4 and that + 8
// the columns 8 j + i % 4 * 2 and that + 1: sums[j], the first row's two first.
#define DROVER_MULTIPLY(TYPE, PTX, COLUMNS, REGISTERS, SUMS, A, B, IF)       \
  __device__ __forceinline__ void Multiply(TYPE, uint64_t a, uint64_t b,     \
                                           bool accumulate,                  \
                                           float(&sums)[COLUMNS / 8][4]) {   \
    asm volatile("{.reg .pred p; setp.ne.b32 p, " IF                         \
                 ", 0; "                                                     \
                 "wgmma.mma_async.sync.aligned.m64n" #COLUMNS "k16.f32." PTX \
                 "." PTX " {" REGISTERS "}, " A ", " B ", p, 1, 1, 0, 0;}"   \
                 : SUMS                                                      \
                 : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));       \
  }
#define DROVER_MULTIPLIES(TYPE, PTX)                                          \
  DROVER_MULTIPLY(TYPE, PTX, 8, DROVER_REGISTERS_4, DROVER_SUMS(0), "%4",     \
                  "%5", "%6")                                                 \
  DROVER_MULTIPLY(TYPE, PTX, 16, DROVER_REGISTERS_8, DROVER_SUMS_2, "%8",     \
                  "%9", "%10")                                                \
  DROVER_MULTIPLY(TYPE, PTX, 32, DROVER_REGISTERS_16, DROVER_SUMS_4, "%16",   \
                  "%17", "%18")                                               \
  DROVER_MULTIPLY(TYPE, PTX, 64, DROVER_REGISTERS_32, DROVER_SUMS_8, "%32",   \
                  "%33", "%34")                                               \
  DROVER_MULTIPLY(TYPE, PTX, 96, DROVER_REGISTERS_48, DROVER_SUMS_12, "%48",  \
                  "%49", "%50")                                               \
  DROVER_MULTIPLY(TYPE, PTX, 112, DROVER_REGISTERS_56, DROVER_SUMS_14, "%56", \
                  "%57", "%58")                                               \
  DROVER_MULTIPLY(TYPE, PTX, 128, DROVER_REGISTERS_64, DROVER_SUMS_16, "%64", \
                  "%65", "%66")                                               \
  DROVER_MULTIPLY(TYPE, PTX, 160, DROVER_REGISTERS_80, DROVER_SUMS_20, "%80", \
                  "%81", "%82")                                               \
  DROVER_MULTIPLY(TYPE, PTX, 176, DROVER_REGISTERS_88, DROVER_SUMS_22, "%88", \
                  "%89", "%90")                                               \
  DROVER_MULTIPLY(TYPE, PTX, 192, DROVER_REGISTERS_96, DROVER_SUMS_24, "%96", \
                  "%97", "%98")                                               \
  DROVER_MULTIPLY(TYPE, PTX, 224, DROVER_REGISTERS_112, DROVER_SUMS_28,       \
                  "%112", "%113", "%114")
DROVER_MULTIPLIES(BFloat16, "bf16")
DROVER_MULTIPLIES(Float16, "f16")
#undef DROVER_MULTIPLIES
#undef DROVER_MULTIPLY

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
#undef DROVER_REGISTERS_112
#undef DROVER_REGISTERS_96
#undef DROVER_REGISTERS_88
#undef DROVER_REGISTERS_80
#undef DROVER_REGISTERS_64
#undef DROVER_REGISTERS_56
#undef DROVER_REGISTERS_48
#undef DROVER_REGISTERS_32
#undef DROVER_REGISTERS_16
#undef DROVER_REGISTERS_8
#undef DROVER_REGISTERS_4
#undef DROVER_SUMS_28
#undef DROVER_SUMS_24
#undef DROVER_SUMS_22
#undef DROVER_SUMS_20
#undef DROVER_SUMS_16
#undef DROVER_SUMS_14
#undef DROVER_SUMS_12
#undef DROVER_SUMS_8
#undef DROVER_SUMS_4
#undef DROVER_SUMS_2
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
