#pragma once

#include <cmath>
#include <cstdint>
#include <ostream>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/cpu/cpu_kernels.h"

// What the kernel tests share: random arrays, and comparison with a reference
// that is computed in double.

namespace drover::kernels {

inline void PrintTo(Isa isa, std::ostream* out) { *out << IsaName(isa); }

inline std::vector<Isa> SupportedIsas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
    if (IsaSupported(isa)) isas.push_back(isa);
  }
  return isas;
}

inline std::string IsaTestName(const testing::TestParamInfo<Isa>& info) {
  return std::string(IsaName(info.param));
}

template <typename T>
T FromDouble(double value) {
  if constexpr (std::is_same_v<T, float>) {
    return static_cast<float>(value);
  } else {
    return ToBFloat16(static_cast<float>(value));
  }
}

// `value` as a store to T and a load would leave it.
template <typename T>
double Rounded(double value) {
  return ToFloat(FromDouble<T>(value));
}

template <typename T>
std::vector<T> RandomArray(int64_t size, uint32_t seed, double scale = 1.0) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0.0, scale);
  std::vector<T> values(size);
  for (T& value : values) value = FromDouble<T>(normal(generator));
  return values;
}

// Largest accepted difference relative to max(1, |expected|): a few float
// operations, or one rounding to bfloat16.
template <typename T>
constexpr double kTolerance = std::is_same_v<T, float> ? 4e-6 : 1.0 / 128;

template <typename T>
void ExpectNear(const std::vector<T>& actual,
                const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const double bound = kTolerance<T> * std::max(1.0, std::abs(expected[i]));
    ASSERT_NEAR(ToFloat(actual[i]), expected[i], bound) << "element " << i;
  }
}

}  // namespace drover::kernels
