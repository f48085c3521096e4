#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "model/kernels/cuda/cuda_stream.h"
#include "model/kernels/kernels.h"

// float, Float16 and BFloat16 on the device, one and sixteen bytes at a time.

namespace drover::kernels::cuda {

__device__ __forceinline__ float AsFloat(float value) { return value; }
__device__ __forceinline__ float AsFloat(BFloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}
__device__ __forceinline__ float AsFloat(Float16 value) {
  return __half2float(__ushort_as_half(value.bits));
}

template <typename T>
__device__ __forceinline__ T FromFloat(float value);
template <>
__device__ __forceinline__ float FromFloat<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ BFloat16 FromFloat<BFloat16>(float value) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
}
template <>
__device__ __forceinline__ Float16 FromFloat<Float16>(float value) {
  return {__half_as_ushort(__float2half_rn(value))};
}

// Two of 16 bits, as they lie in memory one after the other.
template <typename T>
__device__ __forceinline__ uint32_t Pack(float first, float second) {
  return uint32_t{FromFloat<T>(second).bits} << 16 | FromFloat<T>(first).bits;
}

// `value` as a store to T and a load would leave it.
template <typename T>
__device__ __forceinline__ float RoundTo(float value) {
  return AsFloat(FromFloat<T>(value));
}

// SiLU, rounded to T; of 16 bits by the faster operations.
template <typename T>
__device__ __forceinline__ float Silu(float gate) {
  return RoundTo<T>(sizeof(T) == 2 ? __fdividef(gate, 1.0f + __expf(-gate))
                                   : gate / (1.0f + expf(-gate)));
}

// Elements of sixteen bytes, the widest access of a thread.
template <typename T>
struct alignas(16) Vec {
  static constexpr int kSize = 16 / sizeof(T);
  T values[kSize];
};

template <typename T>
__device__ __forceinline__ Vec<T> LoadVec(const T* from) {
  return __builtin_bit_cast(Vec<T>, *reinterpret_cast<const uint4*>(from));
}

// As words, to be held until AsVec wants them. Of a held Vec the compiler takes
// the elements apart, a register for each, as soon as they come, and all that
// follows the load waits for it.
template <typename T>
__device__ __forceinline__ uint4 LoadWords(const T* from) {
  return *reinterpret_cast<const uint4*>(from);
}
template <typename T>
__device__ __forceinline__ Vec<T> AsVec(uint4 words) {
  // Not before what comes before, as far as the compiler knows.
  asm volatile("" : "+r"(words.x), "+r"(words.y), "+r"(words.z), "+r"(words.w));
  return __builtin_bit_cast(Vec<T>, words);
}

template <typename T>
__device__ __forceinline__ void StoreVec(T* to, const Vec<T>& vec) {
  *reinterpret_cast<uint4*>(to) = __builtin_bit_cast(uint4, vec);
}

// To global memory: one access also where the compiler makes four of
// StoreVec's.
template <typename T>
__device__ __forceinline__ void StoreGlobal(T* to, const Vec<T>& vec) {
  const uint4 words = __builtin_bit_cast(uint4, vec);
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(
                   __cvta_generic_to_global(to)),
               "r"(words.x), "r"(words.y), "r"(words.z), "r"(words.w)
               : "memory");
}

// Calls function(i, n) with n = Vec<T>::kSize or, at the end or where `size`
// does not divide, 1, for the threads of a block to share [0, size).
template <typename T, typename Function>
__device__ __forceinline__ void ForBlock(int64_t size, Function function) {
  constexpr int kSize = Vec<T>::kSize;
  const int64_t whole = size % kSize == 0 ? size : 0;
  for (int64_t i = threadIdx.x * kSize; i < whole; i += blockDim.x * kSize) {
    function(i, std::integral_constant<int, kSize>());
  }
  for (int64_t i = whole + threadIdx.x; i < size; i += blockDim.x) {
    function(i, std::integral_constant<int, 1>());
  }
}

// n consecutive elements as floats: one access if n is Vec<T>::kSize.
template <int n, typename T>
__device__ __forceinline__ void LoadFloats(const T* from, float (&to)[n]) {
  if constexpr (n == 1) {
    to[0] = AsFloat(*from);
  } else {
    const Vec<T> vec = LoadVec(from);
#pragma unroll
    for (int i = 0; i < n; ++i) to[i] = AsFloat(vec.values[i]);
  }
}

// The same in two steps, between which the load is on its way: n elements, held
// as LoadWords does it.
template <typename T, int n>
struct Held {
  static_assert(n == 1 || n == Vec<T>::kSize);
  std::conditional_t<n == 1, T, uint4> words;
};
template <int n, typename T>
__device__ __forceinline__ Held<T, n> Hold(const T* from) {
  return {*reinterpret_cast<const decltype(Held<T, n>::words)*>(from)};
}
template <int n, typename T>
__device__ __forceinline__ void AsFloats(const Held<T, n>& held,
                                         float (&to)[n]) {
  if constexpr (n == 1) {
    to[0] = AsFloat(held.words);
  } else {
    const Vec<T> vec = AsVec<T>(held.words);
#pragma unroll
    for (int i = 0; i < n; ++i) to[i] = AsFloat(vec.values[i]);
  }
}

// To global memory.
template <int n, typename T>
__device__ __forceinline__ void StoreFloats(T* to, const float (&from)[n]) {
  if constexpr (n == 1) {
    *to = FromFloat<T>(from[0]);
  } else {
    Vec<T> vec;
#pragma unroll
    for (int i = 0; i < n; ++i) vec.values[i] = FromFloat<T>(from[i]);
    StoreGlobal(to, vec);
  }
}

}  // namespace drover::kernels::cuda
