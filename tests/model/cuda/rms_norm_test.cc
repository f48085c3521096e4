// The norms of rows that each thread keeps, in one piece or two, and of rows
// that are too long for that or of no whole pieces.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "model/kernels/cuda/cuda_kernels.h"
#include "tests/model/cuda/device_array.h"

namespace drover::kernels::cuda {
namespace {

constexpr int64_t kTokens = 3;
constexpr float kEpsilon = 1e-5f;

float Round(float value) { return ToFloat(ToBFloat16(value)); }

class RmsNormTest : public testing::TestWithParam<int64_t> {
 protected:
  std::vector<BFloat16> Random(int64_t size) {
    return RandomArray(size, random_);
  }

  // Whether `out` is `rows` normed.
  void ExpectNormed(const std::vector<BFloat16>& out,
                    const std::vector<float>& rows) const {
    for (int64_t token = 0; token < kTokens; ++token) {
      const int64_t first = token * size_;
      double squares = 0.0;
      for (int64_t i = 0; i < size_; ++i) {
        squares += double{rows[first + i]} * rows[first + i];
      }
      const double rms =
          std::sqrt(squares / static_cast<double>(size_) + kEpsilon);
      for (int64_t i = 0; i < size_; ++i) {
        const double expected = ToFloat(weight_[i]) * rows[first + i] / rms;
        ASSERT_NEAR(ToFloat(out[first + i]), expected,
                    std::abs(expected) / 64 + 1e-6)
            << "token " << token << ", element " << i;
      }
    }
  }

  const int64_t size_ = GetParam();
  std::mt19937 random_{7};
  const std::vector<BFloat16> weight_ = Random(size_);
  const DeviceArray<BFloat16> device_weight_{weight_};
  const DeviceArray<BFloat16> out_{Random(kTokens * size_)};
};

TEST_P(RmsNormTest, NormsRows) {
  const std::vector<BFloat16> x = Random(kTokens * size_);
  const DeviceArray<BFloat16> device_x(x);
  RmsNorm<BFloat16>({.x = device_x.get(),
                     .weight = device_weight_.get(),
                     .out = out_.get(),
                     .num_tokens = kTokens,
                     .hidden_size = size_,
                     .epsilon = kEpsilon},
                    nullptr);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  ExpectNormed(out_.Read(), ToFloats(x));
}

TEST_P(RmsNormTest, AddsPartsToTheResidualStreamFirst) {
  for (int32_t num_parts = 1; num_parts <= 5; ++num_parts) {
    const size_t size = static_cast<size_t>(kTokens * size_);
    const std::vector<float> parts =
        ToFloats(Random(num_parts * kTokens * size_));
    const std::vector<BFloat16> stream = Random(kTokens * size_);
    const DeviceArray<float> device_parts(parts);
    const DeviceArray<BFloat16> device_stream(stream);
    JoinRmsNorm<BFloat16>({.residual = device_stream.get(),
                           .partials = device_parts.get(),
                           .weight = device_weight_.get(),
                           .out = out_.get(),
                           .num_partials = num_parts,
                           .num_tokens = kTokens,
                           .hidden_size = size_,
                           .epsilon = kEpsilon},
                          nullptr);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    std::vector<float> expected;
    for (size_t i = 0; i < size; ++i) {
      float sum = 0.0f;
      for (int32_t part = 0; part < num_parts; ++part) {
        sum += parts[static_cast<size_t>(part) * size + i];
      }
      expected.push_back(Round(Round(sum) + ToFloat(stream[i])));
    }
    EXPECT_EQ(ToFloats(device_stream.Read()), expected);
    ExpectNormed(out_.Read(), expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, RmsNormTest,
                         testing::Values(8, 100, 2048, 4096, 5120, 8192,
                                         12288));

}  // namespace
}  // namespace drover::kernels::cuda
