#pragma once

#include <cstdint>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "model/kernels/bfloat16.h"

// One vector type, as wide as the instruction set that this file is compiled
// for. Everything lives in a namespace named after the instruction set, so that
// the linker cannot mix the copies; for the same reason no function of the
// standard library is called here or in the files that include this one.

#ifndef DROVER_KERNEL_ISA
#error "DROVER_KERNEL_ISA names the namespace, see model/kernels/CMakeLists.txt"
#endif

namespace drover::kernels::DROVER_KERNEL_ISA {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#elif defined(__AVX2__)
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif

typedef float VecF __attribute__((vector_size(4 * kLanes)));
typedef int32_t VecI __attribute__((vector_size(4 * kLanes)));
typedef uint32_t VecU __attribute__((vector_size(4 * kLanes)));
typedef uint16_t VecH __attribute__((vector_size(2 * kLanes)));

inline VecF Broadcast(float value) { return VecF{} + value; }

inline VecF Load(const float* p) {
  VecF v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

// Between 16 and 32 bits the compiler's own conversions take several steps more
// than the instructions there are. (With a mask, because GCC 12 warns of an
// uninitialised variable in those without.)
#if defined(__AVX512F__)
inline constexpr __mmask16 kAllLanes = 0xffff;
#endif

inline VecU Widen(VecH half) {
#if defined(__AVX512F__)
  return (VecU)_mm512_maskz_cvtepu16_epi32(kAllLanes, (__m256i)half);
#elif defined(__AVX2__)
  return (VecU)_mm256_cvtepu16_epi32((__m128i)half);
#else
  return __builtin_convertvector(half, VecU);
#endif
}

// The lower halves; the upper ones must be zero.
inline VecH Narrow(VecU v) {
#if defined(__AVX512F__)
  return (VecH)_mm512_maskz_cvtepi32_epi16(kAllLanes, (__m512i)v);
#elif defined(__AVX2__)
  return (VecH)_mm_packus_epi32(_mm256_castsi256_si128((__m256i)v),
                                _mm256_extracti128_si256((__m256i)v, 1));
#else
  return __builtin_convertvector(v, VecH);
#endif
}

inline VecF Load(const BFloat16* p) {
  VecH half;
  __builtin_memcpy(&half, p, sizeof(half));
  return (VecF)(Widen(half) << 16);
}

inline void Store(VecF v, float* p) { __builtin_memcpy(p, &v, sizeof(v)); }

// Rounds as ToBFloat16 does.
inline VecH RoundToHalf(VecF v) {
  const VecU bits = (VecU)v;
  const VecU rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const VecU nan = (bits >> 16) | 0x40u;
  return Narrow(v == v ? rounded : nan);
}

inline void Store(VecF v, BFloat16* p) {
  const VecH half = RoundToHalf(v);
  __builtin_memcpy(p, &half, sizeof(half));
}

// What a store to T followed by a load would give.
template <typename T>
inline VecF RoundTo(VecF v);
template <>
inline VecF RoundTo<float>(VecF v) {
  return v;
}
template <>
inline VecF RoundTo<BFloat16>(VecF v) {
  return (VecF)(Widen(RoundToHalf(v)) << 16);
}

// Which lanes a load or store touches: all, or the first `count`. Lanes not
// loaded are zero.
struct AllLanes {};
struct FirstLanes {
  int64_t count;
};

template <typename T>
inline VecF Load(const T* p, AllLanes) {
  return Load(p);
}

template <typename T>
inline VecF Load(const T* p, FirstLanes lanes) {
  alignas(64) uint8_t buffer[sizeof(T) * kLanes] = {};
  __builtin_memcpy(buffer, p, lanes.count * sizeof(T));
  return Load(reinterpret_cast<const T*>(buffer));
}

template <typename T>
inline void Store(VecF v, T* p, AllLanes) {
  Store(v, p);
}

template <typename T>
inline void Store(VecF v, T* p, FirstLanes lanes) {
  alignas(64) uint8_t buffer[sizeof(T) * kLanes];
  Store(v, reinterpret_cast<T*>(buffer));
  __builtin_memcpy(p, buffer, lanes.count * sizeof(T));
}

// Calls body(offset, lanes) until [begin, end) is covered.
template <typename Body>
inline void ForVectors(int64_t begin, int64_t end, Body&& body) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(i, AllLanes{});
  if (i < end) body(i, FirstLanes{end - i});
}

inline VecF Max(VecF a, VecF b) { return a > b ? a : b; }
inline int32_t Max(int32_t a, int32_t b) { return a > b ? a : b; }
inline int32_t Min(int32_t a, int32_t b) { return a < b ? a : b; }

// Takes two vectors that hold partial sums in segments of 2 * kHalf lanes and
// halves the segments: those of a and b alternate in the result.
template <int kHalf, int... kLane>
inline VecF AddHalves(VecF a, VecF b, std::integer_sequence<int, kLane...>) {
  constexpr auto source = [](int lane) {
    const int segment = lane / kHalf;
    return (segment / 2) * 2 * kHalf + lane % kHalf + (segment % 2) * kLanes;
  };
  return __builtin_shufflevector(a, b, source(kLane)...) +
         __builtin_shufflevector(a, b, (source(kLane) + kHalf)...);
}

// Lane i of the result is the sum of v[i]'s lanes. Destroys v. The order of the
// additions is the same for each i.
template <int kHalf = kLanes / 2>
[[gnu::always_inline]] inline VecF SumEach(VecF (&v)[kLanes]) {
  if constexpr (kHalf == 0) {
    return v[0];
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kHalf; ++i) {
      v[i] = AddHalves<kHalf>(v[i], v[i + kHalf],
                              std::make_integer_sequence<int, kLanes>());
    }
    return SumEach<kHalf / 2>(v);
  }
}

// Lane i becomes lane i ^ kDistance.
template <int kDistance, int... kLane>
inline VecF Swap(VecF v, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(v, v, (kLane ^ kDistance)...);
}

template <int kDistance = kLanes / 2>
inline float Sum(VecF v) {
  if constexpr (kDistance == 0) {
    return v[0];
  } else {
    return Sum<kDistance / 2>(
        v + Swap<kDistance>(v, std::make_integer_sequence<int, kLanes>()));
  }
}

template <int kDistance = kLanes / 2>
inline float MaxLane(VecF v) {
  if constexpr (kDistance == 0) {
    return v[0];
  } else {
    return MaxLane<kDistance / 2>(
        Max(v, Swap<kDistance>(v, std::make_integer_sequence<int, kLanes>())));
  }
}

// e^x to two units in the last place; 0 below -87, saturated above 88, NaN for
// NaN. x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial.
inline VecF Exp(VecF x) {
  const VecF low = Broadcast(-87.0f);
  const VecF high = Broadcast(88.0f);
  VecF clamped = x < low ? low : x;
  clamped = clamped > high ? high : clamped;
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  const VecF magic = Broadcast(12582912.0f);
  const VecF shifted = clamped * 1.44269504f + magic;
  const VecF n = shifted - magic;
  const VecF r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  VecF p = Broadcast(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const VecI exponent = (VecI)shifted - (VecI)magic;
  const VecF result = p * (VecF)((exponent + 127) << 23);
  return x < low ? VecF{} : result;
}

}  // namespace drover::kernels::DROVER_KERNEL_ISA
