#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/model/kernel_testing.h"

namespace drover::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class LogitKernelsTest : public testing::TestWithParam<Isa> {
 protected:
  const LogitKernels& kernels_ = CpuLogitKernels(GetParam());

  LogitScan Scan(const std::vector<float>& x) const {
    return kernels_.scan(x.data(), std::ssize(x));
  }
};

INSTANTIATE_TEST_SUITE_P(Isas, LogitKernelsTest,
                         testing::ValuesIn(SupportedIsas()), IsaTestName);

// The best and its equal, at every place in vectors, tails and blocks.
TEST_P(LogitKernelsTest, ScanFindsTheFirstOfTheLargest) {
  for (const int64_t size : {1, 3, 16, 37, 1024, 1025, 3000}) {
    std::vector<float> x(size, -2.0f);
    for (int64_t i = 0; i < size; i += 1 + size / 40) {
      x[i] = -1.0f;
      x[size - 1] = -1.0f;
      const LogitScan scan = Scan(x);
      ASSERT_EQ(scan.max, -1.0f);
      ASSERT_EQ(scan.argmax, i);
      ASSERT_TRUE(scan.finite);
      x[i] = -2.0f;
    }
  }
}

TEST_P(LogitKernelsTest, ScanNoticesNaNAndInfinityAnywhere) {
  const int64_t size = 1100;
  for (const float bad : {std::nanf(""), kInfinity}) {
    for (int64_t i = 0; i < size; ++i) {
      std::vector<float> x(size, 1.0f);
      x[i] = bad;
      ASSERT_FALSE(Scan(x).finite) << bad << " at " << i;
    }
  }
}

TEST_P(LogitKernelsTest, ScanAcceptsMinusInfinity) {
  std::vector<float> x(50, -kInfinity);
  EXPECT_TRUE(Scan(x).finite);
  EXPECT_EQ(Scan(x).max, -kInfinity);
  x[49] = -3.0f;
  EXPECT_EQ(Scan(x).argmax, 49);
}

TEST_P(LogitKernelsTest, ExpSumsMatchDouble) {
  for (const int64_t size : {1, 7, 64, 1031, 32000}) {
    std::vector<float> x = RandomArray<float>(size, 4, 5.0);
    if (size > 1) x[size / 2] = -kInfinity;
    const float max = Scan(x).max;
    double sum = 0.0;
    double weighted = 0.0;
    for (const float v : x) {
      if (v == -kInfinity) continue;
      sum += std::exp(double{v} - max);
      weighted += (double{v} - max) * std::exp(double{v} - max);
    }
    const ExpSums sums = kernels_.exp_sums(x.data(), size, max);
    EXPECT_NEAR(sums.sum, sum, 1e-6 * sum);
    EXPECT_NEAR(sums.weighted, weighted, 2e-6 * std::abs(weighted));
  }
}

TEST_P(LogitKernelsTest, CountGreaterIsStrict) {
  for (const int64_t size : {1, 5, 33, 2050}) {
    std::vector<float> x(size);
    for (int64_t i = 0; i < size; ++i) x[i] = static_cast<float>(i % 5);
    int64_t expected = 0;
    for (const float v : x) expected += v > 2.0f ? 1 : 0;
    EXPECT_EQ(kernels_.count_greater(x.data(), size, 2.0f), expected);
  }
}

}  // namespace
}  // namespace drover::kernels
