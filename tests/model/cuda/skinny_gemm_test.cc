// SkinnyGemm against the same sums in double precision on the host.

#include "model/kernels/cuda/skinny_gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ostream>
#include <random>
#include <vector>

#include "model/kernels/cuda/cuda_kernels.h"
#include "tests/model/cuda/device_array.h"
#include "tests/model/cuda/linear_sum.h"

namespace drover::kernels::cuda {
namespace {

struct Case {
  int32_t num_tokens = 1;
  int32_t in_features = 64;
  int32_t out_features = 64;
  int32_t num_blocks = 1;  // 0: its own choice
  int32_t num_units = 1;
  int32_t num_stages = 2;
  int32_t stage_chunks = 1;
  bool in_pairs = false;
  bool silu_mul = false;
  bool has_bias = false;
  bool has_residual = false;  // in pairs, too
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.num_tokens << " x " << c.in_features << " to "
             << c.out_features << ", " << c.num_blocks << " blocks, "
             << c.num_units << " units";
}

float Round(float value) { return ToFloat(ToBFloat16(value)); }

class SkinnyGemmTest : public testing::TestWithParam<Case> {
 protected:
  SkinnyGemmTest() {
    std::mt19937 random(3);
    x_ = RandomArray(int64_t{c_.num_tokens} * c_.in_features, random);
    weight_ = RandomArray(int64_t{c_.out_features} * c_.in_features, random);
    bias_ = RandomArray(c_.out_features, random);
    residual_ = RandomArray(int64_t{c_.num_tokens} * out_size(), random);
  }

  int32_t out_size() const {
    return c_.silu_mul ? c_.out_features / 2 : c_.out_features;
  }

  // What the kernel gives; empty if it cannot run here.
  std::vector<float> Run() {
    const DeviceArray<BFloat16> x(x_);
    const DeviceArray<BFloat16> weight(weight_);
    const DeviceArray<BFloat16> bias(bias_);
    const DeviceArray<BFloat16> out(residual_);  // in place, as the model does
    const SkinnyGemmArgs<BFloat16> args = {
        .x = x.get(),
        .weight = weight.get(),
        .bias = c_.has_bias ? bias.get() : nullptr,
        .residual = c_.has_residual ? out.get() : nullptr,
        .out = out.get(),
        .silu_mul = c_.silu_mul,
        .num_tokens = c_.num_tokens,
        .in_features = c_.in_features,
        .out_features = c_.out_features};
    if (!SkinnyGemmSupported(args)) return {};
    if (c_.num_blocks == 0) {
      SkinnyGemm(args, nullptr);
    } else {
      SkinnyGemm(args,
                 {.in_pairs = c_.in_pairs || c_.has_residual,
                  .num_blocks = c_.num_blocks,
                  .num_units = c_.num_units,
                  .num_stages = c_.num_stages,
                  .stage_chunks = c_.stage_chunks},
                 nullptr);
    }
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return ToFloats(out.Read());
  }

  // The linear layer's sum, and that of its terms' magnitudes.
  std::pair<double, double> Sum(int32_t token, int32_t row) const {
    const auto [sum, magnitude] =
        LinearSum(x_, weight_, c_.in_features, token, row);
    const double bias = c_.has_bias ? ToFloat(bias_[row]) : 0.0;
    return {sum + bias, magnitude + std::abs(bias)};
  }

  const Case c_ = GetParam();
  std::vector<BFloat16> x_;
  std::vector<BFloat16> weight_;
  std::vector<BFloat16> bias_;
  std::vector<BFloat16> residual_;
};

TEST_P(SkinnyGemmTest, EqualsTheSum) {
  const std::vector<float> actual = Run();
  if (actual.empty()) GTEST_SKIP() << "not on this GPU";
  for (int32_t token = 0; token < c_.num_tokens; ++token) {
    for (int32_t row = 0; row < out_size(); ++row) {
      auto [sum, magnitude] = Sum(token, row);
      double rounding = std::abs(sum) / 64 + 1e-3;
      if (c_.silu_mul) {
        const auto [up, up_magnitude] = Sum(token, out_size() + row);
        rounding += std::abs(up) * (std::abs(sum) / 64 + 1e-3);
        sum = sum / (1.0 + std::exp(-sum)) * up;
        magnitude += up_magnitude;
      }
      const int64_t index = int64_t{token} * out_size() + row;
      if (c_.has_residual) {
        sum = Round(static_cast<float>(sum)) + ToFloat(residual_[index]);
      }
      ASSERT_NEAR(actual[index], sum, 1e-5 * magnitude + rounding)
          << "token " << token << ", row " << row;
    }
  }
}

TEST_P(SkinnyGemmTest, IsTheSameEachTime) { EXPECT_EQ(Run(), Run()); }

INSTANTIATE_TEST_SUITE_P(
    Shapes, SkinnyGemmTest,
    testing::Values(
        Case{.num_units = 2}, Case{},
        Case{.num_tokens = 5,
             .in_features = 256,
             .out_features = 80,
             .num_units = 3},
        Case{.num_tokens = 16,
             .in_features = 512,
             .out_features = 224,
             .num_units = 7,
             .stage_chunks = 2,
             .has_bias = true},
        // Several tiles, the last one smaller; a stage less full than others.
        Case{.num_tokens = 64,
             .in_features = 704,
             .out_features = 1040,
             .num_blocks = 4,
             .num_units = 3,
             .stage_chunks = 4},
        Case{.num_tokens = 33,
             .in_features = 1024,
             .out_features = 640,
             .num_blocks = 4,
             .num_units = 5,
             .has_residual = true},
        Case{.num_tokens = 20,
             .in_features = 1344,
             .out_features = 208,
             .num_units = 7,
             .num_stages = 3,
             .has_bias = true,
             .has_residual = true},
        Case{.num_tokens = 7,
             .in_features = 512,
             .out_features = 272,
             .num_blocks = 2,
             .num_units = 5,
             .silu_mul = true,
             .has_bias = true},
        Case{.num_tokens = 64,
             .in_features = 1024,
             .out_features = 896,
             .num_blocks = 4,
             .num_units = 7,
             .stage_chunks = 2,
             .silu_mul = true,
             .has_bias = true},
        // Three and four warpgroups, not all of them busy in the last tile.
        Case{.num_tokens = 17,
             .in_features = 512,
             .out_features = 336,
             .num_blocks = 2,
             .num_units = 9,
             .has_residual = true},
        Case{.num_tokens = 64,
             .in_features = 512,
             .out_features = 1104,
             .num_blocks = 3,
             .num_units = 13},
        Case{.num_tokens = 5,
             .in_features = 512,
             .out_features = 816,
             .num_blocks = 3,
             .num_units = 15,
             .silu_mul = true},
        Case{.num_tokens = 33,
             .in_features = 512,
             .out_features = 528,
             .num_blocks = 2,
             .num_units = 16,
             .has_bias = true},
        // Pairs, of a depth that does not divide evenly.
        Case{.num_tokens = 64,
             .in_features = 1344,
             .out_features = 320,
             .num_blocks = 3,
             .num_units = 4,
             .num_stages = 3,
             .stage_chunks = 2,
             .in_pairs = true},
        // One of the pair has nothing.
        Case{.num_tokens = 3, .num_units = 2, .in_pairs = true},
        // Its own choice.
        Case{.num_tokens = 64,
             .in_features = 2816,
             .out_features = 4096,
             .num_blocks = 0},
        Case{.num_tokens = 5,
             .in_features = 1024,
             .out_features = 5120,
             .num_blocks = 0},
        Case{.num_tokens = 32,
             .in_features = 1024,
             .out_features = 11008,
             .num_blocks = 0,
             .silu_mul = true},
        Case{.num_tokens = 64,
             .in_features = 4096,
             .out_features = 4096,
             .num_blocks = 0,
             .has_residual = true},
        Case{.num_tokens = 61,
             .in_features = 1024,
             .out_features = 6144,
             .num_blocks = 0,
             .has_bias = true},
        Case{.num_tokens = 64,
             .in_features = 512,
             .out_features = 28672,
             .num_blocks = 0,
             .silu_mul = true}));

struct NormCase {
  int32_t num_tokens = 1;
  int32_t depth = 512;
  int32_t size = 256;
  int32_t next_rows = 160;  // of the product after the norm
  bool has_bias = false;
  bool silu_mul = false;
};

std::ostream& operator<<(std::ostream& out, const NormCase& c) {
  return out << c.num_tokens << " x " << c.depth << " to " << c.size;
}

class NormInProductsTest : public testing::TestWithParam<NormCase> {};

// A residual, the norm after it and the product after that.
TEST_P(NormInProductsTest, EqualsANormBetweenThem) {
  constexpr float kEpsilon = 1e-2f;
  const NormCase& c = GetParam();
  std::mt19937 random(7);
  const auto array = [&](int32_t count) {
    return DeviceArray<BFloat16>(RandomArray(count, random));
  };
  const int32_t stream_size = c.num_tokens * c.size;
  const DeviceArray<BFloat16> x = array(c.num_tokens * c.depth);
  const DeviceArray<BFloat16> weight = array(c.size * c.depth);
  const DeviceArray<BFloat16> bias = array(c.size);
  const DeviceArray<BFloat16> next_weight = array(c.next_rows * c.size);
  std::vector<BFloat16> norm_values = RandomArray(c.size, random);
  for (BFloat16& value : norm_values) {
    value = ToBFloat16(ToFloat(value) / std::sqrt(static_cast<float>(c.size)));
  }
  const DeviceArray<BFloat16> norm(norm_values);
  const DeviceArray<BFloat16> stream = array(stream_size);
  const DeviceArray<BFloat16> weighted = array(stream_size);
  const int32_t num_squares = NumSquares(c.size);
  // Whatever was there.
  const DeviceArray<float> squares(
      std::vector<float>(c.num_tokens * num_squares, NAN));
  const DeviceArray<BFloat16> out = array(c.num_tokens * c.next_rows);
  const DeviceArray<BFloat16> expected_out = array(c.num_tokens * c.next_rows);
  const SkinnyGemmArgs<BFloat16> args = {
      .x = x.get(),
      .weight = weight.get(),
      .bias = c.has_bias ? bias.get() : nullptr,
      .residual = stream.get(),
      .out = stream.get(),
      .norm_weight = norm.get(),
      .weighted = weighted.get(),
      .squares = squares.get(),
      .num_tokens = c.num_tokens,
      .in_features = c.depth,
      .out_features = c.size};
  if (!SkinnyGemmSupported(args)) GTEST_SKIP() << "not on this GPU";
  SkinnyGemm(args, nullptr);
  SkinnyGemmArgs<BFloat16> next = {.x = weighted.get(),
                                   .weight = next_weight.get(),
                                   .x_squares = squares.get(),
                                   .num_x_squares = num_squares,
                                   .epsilon = kEpsilon,
                                   .out = out.get(),
                                   .silu_mul = c.silu_mul,
                                   .num_tokens = c.num_tokens,
                                   .in_features = c.size,
                                   .out_features = c.next_rows};
  SkinnyGemm(next, nullptr);
  // What is in the stream now is another test's.
  RmsNorm<BFloat16>({.x = stream.get(),
                     .weight = norm.get(),
                     .out = weighted.get(),
                     .num_tokens = c.num_tokens,
                     .hidden_size = c.size,
                     .epsilon = kEpsilon},
                    nullptr);
  next.x_squares = nullptr;
  next.out = expected_out.get();
  SkinnyGemm(next, nullptr);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const std::vector<float> actual = ToFloats(out.Read());
  const std::vector<float> expected = ToFloats(expected_out.Read());
  // Sums are about 1/3; what they are of is rounded at other places.
  for (int32_t i = 0;
       i < c.num_tokens * (c.silu_mul ? c.next_rows / 2 : c.next_rows); ++i) {
    ASSERT_NEAR(actual[i], expected[i], std::abs(expected[i]) / 32 + 1e-2f)
        << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, NormInProductsTest,
    testing::Values(
        NormCase{.num_tokens = 1}, NormCase{.num_tokens = 8},
        NormCase{.num_tokens = 9, .has_bias = true},
        NormCase{.num_tokens = 17, .silu_mul = true},
        NormCase{.num_tokens = 32, .size = 1024},
        // One chunk of depth: one of each pair has nothing.
        NormCase{.num_tokens = 33, .depth = 64},
        NormCase{.num_tokens = 64, .size = 4096, .silu_mul = true},
        // Two warpgroups, the second one's rows not for all.
        NormCase{.num_tokens = 40, .depth = 1344, .size = 5120},
        NormCase{
            .num_tokens = 64, .size = 5056, .has_bias = true, .silu_mul = true},
        // More rows than fit at once.
        NormCase{.num_tokens = 50, .size = 18432},
        // The next product has several warpgroups, not all of
        // them busy, and tiles.
        NormCase{.num_tokens = 64, .next_rows = 28672, .silu_mul = true},
        NormCase{.num_tokens = 61, .next_rows = 6144},
        NormCase{.num_tokens = 30, .next_rows = 19216},
        NormCase{.num_tokens = 5, .next_rows = 44048}));

}  // namespace
}  // namespace drover::kernels::cuda
