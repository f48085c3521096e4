#pragma once

#include <cmath>
#include <cstdint>

namespace drover {

// IEEE half precision, as bits. Not every compiler of ours has the type.

inline float HalfToFloat(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) {  // a multiple of 2^-24
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  const uint32_t wide = exponent == 31 ? 0xffu : exponent + (127 - 15);
  return __builtin_bit_cast(float, sign | wide << 23 | mantissa << 13);
}

// Rounds to nearest, ties to even. A NaN stays a (quiet) NaN.
inline uint16_t FloatToHalf(float value) {
  const auto bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  constexpr uint32_t kInfinity = 0x7f800000u;
  constexpr uint32_t kRoundsToInfinity = 0x477ff000u;  // 65520
  constexpr uint32_t kLeastNormal = 0x38800000u;       // 2^-14
  uint32_t half = 0;
  if (magnitude > kInfinity) {
    half = 0x7e00u;
  } else if (magnitude >= kRoundsToInfinity) {
    half = 0x7c00u;
  } else if (magnitude < kLeastNormal) {
    half = static_cast<uint32_t>(
        std::lrint(__builtin_bit_cast(float, magnitude) * 0x1p24f));
  } else {
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    half = (rounded - ((127u - 15u) << 23)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace drover
