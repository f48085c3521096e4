// Gemv against the same sums in double precision on the host.

#include "model/kernels/cuda/gemv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ostream>
#include <random>
#include <vector>

#include "tests/model/cuda/device_array.h"

namespace drover::kernels::cuda {
namespace {

struct Case {
  GemvInput input = GemvInput::kNone;
  int32_t num_tokens = 1;
  int32_t in_features = 256;
  int32_t out_features = 1;
  bool has_bias = false;
  bool has_residual = false;
  bool to_float = false;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.num_tokens << " x " << c.in_features << " to "
             << c.out_features << ", input " << static_cast<int>(c.input);
}

float Round(float value) { return ToFloat(ToBFloat16(value)); }

// x on its way in.
std::vector<float> Transform(const Case& c, const std::vector<float>& x,
                             const std::vector<float>& norm_weight) {
  if (c.input == GemvInput::kNone) return x;
  std::vector<float> out;
  if (c.input == GemvInput::kSiluMul) {
    for (int32_t i = 0; i < c.in_features; ++i) {
      const float gate = x[i];
      out.push_back(
          Round(Round(gate / (1.0f + std::exp(-gate))) * x[c.in_features + i]));
    }
    return out;
  }
  double squares = 0.0;
  for (const float value : x) squares += double{value} * value;
  const double inverse = 1.0 / std::sqrt(squares / c.in_features + 1e-5);
  for (int32_t i = 0; i < c.in_features; ++i) {
    out.push_back(
        Round(norm_weight[i] * Round(static_cast<float>(x[i] * inverse))));
  }
  return out;
}

class GemvTest : public testing::TestWithParam<Case> {};

TEST_P(GemvTest, EqualsTheSum) {
  const Case& c = GetParam();
  std::mt19937 random(3);
  const int64_t x_size =
      c.input == GemvInput::kSiluMul ? 2 * c.in_features : c.in_features;
  const std::vector<BFloat16> x = RandomArray(c.num_tokens * x_size, random);
  const std::vector<BFloat16> weight =
      RandomArray(int64_t{c.out_features} * c.in_features, random);
  const std::vector<BFloat16> norm = RandomArray(c.in_features, random);
  const std::vector<BFloat16> bias = RandomArray(c.out_features, random);
  const std::vector<BFloat16> residual =
      RandomArray(int64_t{c.num_tokens} * c.out_features, random);

  const DeviceArray<BFloat16> device_x(x);
  const DeviceArray<BFloat16> device_weight(weight);
  const DeviceArray<BFloat16> device_norm(norm);
  const DeviceArray<BFloat16> device_bias(bias);
  const DeviceArray<BFloat16> out(residual);  // in place, as the model does
  const DeviceArray<float> out_float(std::vector<float>(residual.size()));
  const GemvArgs<BFloat16> args = {
      .x = device_x.get(),
      .weight = device_weight.get(),
      .bias = c.has_bias ? device_bias.get() : nullptr,
      .residual = c.has_residual ? out.get() : nullptr,
      .out = c.to_float ? nullptr : out.get(),
      .out_float = c.to_float ? out_float.get() : nullptr,
      .norm_weight = device_norm.get(),
      .epsilon = 1e-5f,
      .input = c.input,
      .num_tokens = c.num_tokens,
      .in_features = c.in_features,
      .out_features = c.out_features};
  if (!GemvSupported(args)) GTEST_SKIP() << "not on this GPU";
  Gemv(args, nullptr);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const std::vector<float> actual =
      c.to_float ? out_float.Read() : ToFloats(out.Read());

  const std::vector<float> w = ToFloats(weight);
  const std::vector<float> biases = ToFloats(bias);
  const std::vector<float> residuals = ToFloats(residual);
  for (int32_t token = 0; token < c.num_tokens; ++token) {
    const std::vector<float> in =
        Transform(c,
                  ToFloats({x.begin() + token * x_size,
                            x.begin() + (token + 1) * x_size}),
                  ToFloats(norm));
    for (int32_t row = 0; row < c.out_features; ++row) {
      double sum = c.has_bias ? biases[row] : 0.0;
      double magnitude = 0.0;
      for (int32_t i = 0; i < c.in_features; ++i) {
        const double product =
            double{w[int64_t{row} * c.in_features + i]} * in[i];
        sum += product;
        magnitude += std::abs(product);
      }
      const int64_t index = int64_t{token} * c.out_features + row;
      if (c.has_residual)
        sum = Round(static_cast<float>(sum)) + residuals[index];
      const double tolerance =
          1e-5 * magnitude + (c.to_float ? 0.0 : std::abs(sum) / 64 + 1e-3);
      ASSERT_NEAR(actual[index], sum, tolerance)
          << "token " << token << ", row " << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, GemvTest,
    testing::Values(
        Case{.in_features = 256, .out_features = 1},
        Case{.in_features = 4096, .out_features = 131, .has_residual = true},
        Case{.in_features = 4096, .out_features = 2500, .to_float = true},
        Case{.in_features = 2304, .out_features = 640, .has_bias = true},
        Case{.input = GemvInput::kRmsNorm,
             .in_features = 5120,
             .out_features = 300},
        Case{.input = GemvInput::kSiluMul,
             .in_features = 11008,
             .out_features = 264,
             .has_residual = true},
        Case{.input = GemvInput::kSiluMul,
             .in_features = 14336,
             .out_features = 133,
             .has_residual = true},
        Case{.num_tokens = 2,
             .in_features = 4096,
             .out_features = 700,
             .has_bias = true,
             .has_residual = true},
        Case{.num_tokens = 3, .in_features = 4096, .out_features = 700},
        Case{.num_tokens = 4,
             .in_features = 11008,
             .out_features = 265,
             .has_residual = true}));

}  // namespace
}  // namespace drover::kernels::cuda
