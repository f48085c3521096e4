#pragma once

#include <cstdint>

namespace drover::kernels {

// Sixteen bits: the upper half of an IEEE float. Laid out like every other
// library's bfloat16, so that pointers to theirs may be read as ours.
struct BFloat16 {
  uint16_t bits;

  bool operator==(const BFloat16&) const = default;
};
static_assert(sizeof(BFloat16) == 2);

// Always inlined: these are also compiled for instruction sets that this CPU
// may lack, and the linker must have no copy of them to choose from.
[[gnu::always_inline]] inline float ToFloat(float value) { return value; }

[[gnu::always_inline]] inline float ToFloat(BFloat16 value) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
}

// Rounds to nearest, ties to even. A NaN stays a (quiet) NaN.
[[gnu::always_inline]] inline BFloat16 ToBFloat16(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  }
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace drover::kernels
