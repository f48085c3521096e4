#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "model/philox.h"

namespace drover {

// The random part of choosing a token: one exponential variable per (seed,
// number of the generated token, vocabulary id), the same on every row, rank,
// machine and run.
class TokenDraw {
 public:
  TokenDraw(uint64_t seed, int32_t num_generated)
      : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
        num_generated_(static_cast<uint32_t>(num_generated)) {}

  // 32 uniform bits. Asking for ids in ascending order is cheapest.
  uint32_t Bits(int32_t id) {
    const uint32_t group = static_cast<uint32_t>(id) / 4;
    if (group != group_) {
      group_ = group;
      words_ = Philox4x32({num_generated_, group, 0, 0}, key_);
    }
    return words_[static_cast<uint32_t>(id) % 4];
  }

  // -log e for e ~ Exponential(1), e = -log((bits + 1/2) / 2^32).
  static double NegativeLogExponential(uint32_t bits) {
    return -std::log(-std::log((bits + 0.5) * 0x1p-32));
  }

  // At least that, cheaply: e >= 1 - u = (~bits + 1/2) / 2^32.
  static double UpperBound(uint32_t bits) {
    return kLog2 * (1 + (bits == ~0u ? 32 : __builtin_clz(~bits)));
  }

  // At least that, for any bits.
  static constexpr double kMax = 23.0;

 private:
  static constexpr double kLog2 = 0.6931471805599453;

  std::array<uint32_t, 2> key_;
  uint32_t num_generated_;
  uint32_t group_ = ~0u;
  std::array<uint32_t, 4> words_ = {};
};

}  // namespace drover
