// MidGemm against the same sums in double precision on the host.

#include "model/kernels/cuda/mid_gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <ostream>
#include <random>
#include <vector>

#include "tests/model/cuda/device_array.h"
#include "tests/model/cuda/linear_sum.h"

namespace drover::kernels::cuda {
namespace {

struct Case {
  int32_t num_tokens = 1;
  int32_t in_features = 64;
  int32_t out_features = 64;
  int32_t num_partials = 0;  // none: activated
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.num_tokens << " x " << c.in_features << " to "
             << c.out_features << ", " << c.num_partials << " parts";
}

class MidGemmTest : public testing::TestWithParam<Case> {
 protected:
  MidGemmTest() {
    std::mt19937 random(3);
    x_ = RandomArray(int64_t{c_.num_tokens} * c_.in_features, random);
    weight_ = RandomArray(int64_t{c_.out_features} * c_.in_features, random);
  }

  bool is_activated() const { return c_.num_partials == 0; }
  int32_t out_size() const {
    return is_activated() ? c_.out_features / 2 : c_.out_features;
  }

  // What the kernel gives; empty if it cannot run here.
  std::vector<float> Run() {
    const int64_t size = int64_t{c_.num_tokens} * out_size();
    const DeviceArray<BFloat16> x(x_);
    const DeviceArray<BFloat16> weight(weight_);
    // Whatever was there.
    const DeviceArray<BFloat16> activated(
        std::vector<BFloat16>(size, ToBFloat16(NAN)));
    const DeviceArray<float> partials(
        std::vector<float>(c_.num_partials * size, NAN));
    const MidGemmArgs<BFloat16> args = {
        .x = x.get(),
        .weight = weight.get(),
        .activated = is_activated() ? activated.get() : nullptr,
        .partials = is_activated() ? nullptr : partials.get(),
        .num_partials = c_.num_partials,
        .num_tokens = c_.num_tokens,
        .in_features = c_.in_features,
        .out_features = c_.out_features};
    if (!MidGemmSupported(args)) return {};
    MidGemm(args, nullptr);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return is_activated() ? ToFloats(activated.Read())
                          : SumOfParts(partials.Read(), size);
  }

  const Case c_ = GetParam();
  std::vector<BFloat16> x_;
  std::vector<BFloat16> weight_;
};

TEST_P(MidGemmTest, EqualsTheSum) {
  const std::vector<float> actual = Run();
  if (actual.empty()) GTEST_SKIP() << "not on this GPU";
  // Of large cases not all, since the host takes long; an odd stride meets all
  // rows and all tokens.
  const int64_t work = static_cast<int64_t>(actual.size()) * c_.in_features;
  const int64_t stride = 1 + work / 200'000'000 * 2;
  for (int32_t token = 0; token < c_.num_tokens; ++token) {
    for (int32_t row = 0; row < out_size(); ++row) {
      const int64_t index = int64_t{token} * out_size() + row;
      if (index % stride != 0) continue;
      auto [sum, magnitude] =
          LinearSum(x_, weight_, c_.in_features, token, row);
      double rounding = 0.0;
      if (is_activated()) {
        const auto [up, up_magnitude] =
            LinearSum(x_, weight_, c_.in_features, token, out_size() + row);
        // Each of gate, SiLU, up and the product rounds to eight bits.
        const double sigmoid = 1.0 / (1.0 + std::exp(-sum));
        const double silu = sum * sigmoid;
        const double slope = sigmoid * (1.0 + sum * (1.0 - sigmoid));
        rounding = std::abs(up) *
                       (std::abs(sum * slope) + 4.0 * std::abs(silu)) / 256 +
                   1e-6;
        magnitude =
            std::abs(up * slope) * magnitude + std::abs(silu) * up_magnitude;
        sum = silu * up;
      }
      ASSERT_NEAR(actual[index], sum, 1e-5 * magnitude + rounding)
          << "token " << token << ", row " << row;
    }
  }
}

TEST_P(MidGemmTest, IsTheSameEachTime) {
  const std::vector<float> once = Run();
  if (once.empty()) GTEST_SKIP() << "not on this GPU";
  EXPECT_EQ(Run(), once);
}

// With 132 multiprocessors there is a case of each kernel, and of each number
// of rows one whose ring goes round several times.
INSTANTIATE_TEST_SUITE_P(
    Shapes, MidGemmTest,
    testing::Values(
        Case{.num_tokens = 1}, Case{.num_tokens = 65, .num_partials = 1},
        // Up to 96 rows.
        Case{.num_tokens = 128, .in_features = 4096, .out_features = 1040},
        Case{.num_tokens = 180, .in_features = 4096, .out_features = 1040},
        Case{.num_tokens = 256, .in_features = 4096, .out_features = 1040},
        // 112; another last tile, parts of a depth that does not divide evenly.
        Case{.num_tokens = 96, .in_features = 256, .out_features = 13824},
        Case{.num_tokens = 190, .in_features = 1344, .out_features = 13824},
        Case{.num_tokens = 230, .in_features = 1344, .out_features = 22016},
        Case{.num_tokens = 192,
             .in_features = 5440,
             .out_features = 3456,
             .num_partials = 4},
        // 128; more parts than there is depth.
        Case{.num_tokens = 128,
             .in_features = 4096,
             .out_features = 4096,
             .num_partials = 4},
        Case{.num_tokens = 192,
             .in_features = 2048,
             .out_features = 4096,
             .num_partials = 4},
        Case{.num_tokens = 193,
             .in_features = 1344,
             .out_features = 4096,
             .num_partials = 4},
        Case{.num_tokens = 150,
             .in_features = 128,
             .out_features = 4096,
             .num_partials = 4},
        Case{.num_tokens = 250,
             .in_features = 1024,
             .out_features = 8192,
             .num_partials = 2},
        // 160.
        Case{.num_tokens = 100,
             .in_features = 4096,
             .out_features = 5120,
             .num_partials = 4},
        Case{.num_tokens = 129,
             .in_features = 512,
             .out_features = 5120,
             .num_partials = 4},
        // 176, 192 and 224.
        Case{.num_tokens = 128, .in_features = 256, .out_features = 22016},
        Case{.num_tokens = 192, .in_features = 1024, .out_features = 22016},
        Case{.num_tokens = 67, .in_features = 256, .out_features = 25328},
        Case{.num_tokens = 180, .in_features = 1024, .out_features = 25328},
        Case{.num_tokens = 128, .in_features = 1024, .out_features = 28672},
        Case{.num_tokens = 192, .in_features = 1024, .out_features = 28672},
        // Two rounds.
        Case{.num_tokens = 160, .in_features = 256, .out_features = 57344},
        Case{.num_tokens = 256, .in_features = 512, .out_features = 28672}));

}  // namespace
}  // namespace drover::kernels::cuda
