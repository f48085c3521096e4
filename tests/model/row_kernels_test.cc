#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/kernel_testing.h"

namespace drover::kernels {
namespace {

using ::testing::ElementsAre;

// Not multiples of any vector's width, and both sides of the threshold above
// which the rows are spread over threads.
struct Shape {
  int64_t num_tokens;
  int64_t size;
};
constexpr Shape kShapes[] = {{1, 1}, {3, 7}, {2, 64}, {5, 259}, {41, 1027}};

class RowKernelsTest : public testing::TestWithParam<Isa> {
 protected:
  template <typename T>
  const KernelTable<T>& kernels() const {
    return CpuKernels<T>(GetParam());
  }
};

INSTANTIATE_TEST_SUITE_P(Isas, RowKernelsTest,
                         testing::ValuesIn(SupportedIsas()), IsaTestName);

template <typename T>
std::vector<double> NormReference(const std::vector<T>& x,
                                  const std::vector<T>& weight, double epsilon,
                                  int64_t num_tokens) {
  const int64_t size = weight.size();
  std::vector<double> out;
  for (int64_t token = 0; token < num_tokens; ++token) {
    double squares = 0.0;
    for (int64_t i = 0; i < size; ++i) {
      squares += std::pow(ToFloat(x[token * size + i]), 2);
    }
    const double inverse = 1.0 / std::sqrt(squares / size + epsilon);
    for (int64_t i = 0; i < size; ++i) {
      out.push_back(ToFloat(weight[i]) *
                    Rounded<T>(ToFloat(x[token * size + i]) * inverse));
    }
  }
  return out;
}

template <typename T>
void CheckGather(const KernelTable<T>& kernels) {
  const std::vector<T> table = RandomArray<T>(5 * 3, 1);
  const std::vector<int32_t> ids = {4, 0, 4};
  std::vector<T> out(9);
  kernels.gather_rows({.table = table.data(),
                       .ids = ids.data(),
                       .out = out.data(),
                       .num_rows = 3,
                       .row_size = 3});
  EXPECT_THAT(out,
              ElementsAre(table[12], table[13], table[14], table[0], table[1],
                          table[2], table[12], table[13], table[14]));
}

TEST_P(RowKernelsTest, GatherCopiesTheRowsInTheOrderOfTheIds) {
  CheckGather(kernels<float>());
  CheckGather(kernels<BFloat16>());
}

template <typename T>
void CheckRmsNorm(const KernelTable<T>& kernels) {
  for (const auto& [num_tokens, size] : kShapes) {
    const std::vector<T> x = RandomArray<T>(num_tokens * size, 1, 3.0);
    const std::vector<T> weight = RandomArray<T>(size, 2);
    std::vector<T> out(x.size());
    kernels.rms_norm({.x = x.data(),
                      .weight = weight.data(),
                      .out = out.data(),
                      .num_tokens = num_tokens,
                      .hidden_size = size,
                      .epsilon = 1e-3f});
    ExpectNear(out, NormReference(x, weight, 1e-3f, num_tokens));
  }
}

TEST_P(RowKernelsTest, RmsNormMatchesItsDefinition) {
  CheckRmsNorm(kernels<float>());
  CheckRmsNorm(kernels<BFloat16>());
}

// Next to 1, bfloat16 has steps of 2^-7. A normalised value of 1.0026 rounds to
// 1 and leaves the weight 255/128 as it is; unrounded it would lift it to 2.
TEST_P(RowKernelsTest, RmsNormRoundsBeforeItMultipliesByTheWeight) {
  const std::vector<BFloat16> x = {ToBFloat16(1.0f), ToBFloat16(1.0f),
                                   ToBFloat16(127.0f / 128)};
  const std::vector<BFloat16> weight(3, ToBFloat16(255.0f / 128));
  std::vector<BFloat16> out(3);
  kernels<BFloat16>().rms_norm({.x = x.data(),
                                .weight = weight.data(),
                                .out = out.data(),
                                .num_tokens = 1,
                                .hidden_size = 3,
                                .epsilon = 0.0f});
  EXPECT_EQ(ToFloat(out[0]), 255.0f / 128);
}

template <typename T>
void CheckAddRmsNorm(const KernelTable<T>& kernels) {
  for (const auto& [num_tokens, size] : kShapes) {
    std::vector<T> residual = RandomArray<T>(num_tokens * size, 1, 3.0);
    std::vector<T> x = RandomArray<T>(num_tokens * size, 2, 3.0);
    const std::vector<T> weight = RandomArray<T>(size, 3);
    std::vector<T> sum(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      sum[i] = FromDouble<T>(ToFloat(residual[i]) + ToFloat(x[i]));
    }
    kernels.add_rms_norm({.residual = residual.data(),
                          .x = x.data(),
                          .weight = weight.data(),
                          .out = x.data(),
                          .num_tokens = num_tokens,
                          .hidden_size = size,
                          .epsilon = 1e-5f});
    EXPECT_EQ(residual, sum);
    ExpectNear(x, NormReference(sum, weight, 1e-5f, num_tokens));
  }
}

TEST_P(RowKernelsTest, AddRmsNormUpdatesTheResidualAndMayWriteOverItsInput) {
  CheckAddRmsNorm(kernels<float>());
  CheckAddRmsNorm(kernels<BFloat16>());
}

template <typename T>
void CheckSiluMul(const KernelTable<T>& kernels) {
  for (const auto& [num_tokens, size] : kShapes) {
    const std::vector<T> gate_up =
        RandomArray<T>(num_tokens * 2 * size, 1, 4.0);
    std::vector<T> out(num_tokens * size);
    kernels.silu_mul({.gate_up = gate_up.data(),
                      .out = out.data(),
                      .num_tokens = num_tokens,
                      .intermediate_size = size});
    std::vector<double> expected;
    for (int64_t token = 0; token < num_tokens; ++token) {
      const T* row = gate_up.data() + token * 2 * size;
      for (int64_t i = 0; i < size; ++i) {
        const double gate = ToFloat(row[i]);
        expected.push_back(Rounded<T>(gate / (1.0 + std::exp(-gate))) *
                           ToFloat(row[size + i]));
      }
    }
    ExpectNear(out, expected);
  }
}

TEST_P(RowKernelsTest, SiluMulMatchesItsDefinition) {
  CheckSiluMul(kernels<float>());
  CheckSiluMul(kernels<BFloat16>());
}

TEST_P(RowKernelsTest, SiluMulKeepsExtremesAndNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> gate_up = {100.0f, -100.0f, 0.0f, nan,
                                      1.0f,   1.0f,    1.0f, 1.0f};
  std::vector<float> out(4);
  kernels<float>().silu_mul({.gate_up = gate_up.data(),
                             .out = out.data(),
                             .num_tokens = 1,
                             .intermediate_size = 4});
  EXPECT_EQ(out[0], 100.0f);
  EXPECT_NEAR(out[1], 0.0f, 1e-30f);
  EXPECT_EQ(out[2], 0.0f);
  EXPECT_TRUE(std::isnan(out[3]));
}

struct RopeShape {
  int32_t num_heads;
  int32_t num_kv_heads;
  int32_t head_dim;
};

template <typename T>
void CheckRopeAppend(const KernelTable<T>& kernels, const RopeShape& shape) {
  const int64_t num_tokens = 3;
  const int32_t dim = shape.head_dim;
  const int32_t half = dim / 2;
  const int32_t width = (shape.num_heads + 2 * shape.num_kv_heads) * dim;
  const std::vector<T> input = RandomArray<T>(num_tokens * width, 1);
  const std::vector<float> cos = RandomArray<float>(8 * half, 2);
  const std::vector<float> sin = RandomArray<float>(8 * half, 3);
  const std::vector<int32_t> positions = {5, 0, 7};
  const std::vector<int32_t> slots = {2 * 16 + 5, 1 * 16, 3 * 16 + 15};
  std::vector<T> qkv = input;
  std::vector<T> k_cache(4 * shape.num_kv_heads * 16 * dim);
  std::vector<T> v_cache(k_cache.size());

  std::vector<double> expected_qkv;
  for (const T value : input) expected_qkv.push_back(ToFloat(value));
  std::vector<double> expected_k(k_cache.size());
  std::vector<double> expected_v(v_cache.size());
  for (int64_t token = 0; token < num_tokens; ++token) {
    // out[i] for element i of the head that starts at column `head_begin`.
    const auto rotated = [&](int32_t head_begin, int32_t i) {
      const T* head = input.data() + token * width + head_begin;
      const int32_t pair = i % half;
      const double c = cos[positions[token] * half + pair];
      const double s = sin[positions[token] * half + pair];
      const double a = ToFloat(head[pair]);
      const double b = ToFloat(head[half + pair]);
      return i < half ? a * c - b * s : b * c + a * s;
    };
    for (int32_t column = 0; column < width; ++column) {
      const int32_t head = column / dim;
      const int32_t i = column % dim;
      if (head < shape.num_heads) {
        expected_qkv[token * width + column] = rotated(head * dim, i);
        continue;
      }
      const int32_t kv_head = (head - shape.num_heads) % shape.num_kv_heads;
      const int64_t place =
          ((slots[token] / 16 * shape.num_kv_heads + kv_head) * 16 +
           slots[token] % 16) *
              dim +
          i;
      if (head < shape.num_heads + shape.num_kv_heads) {
        expected_k[place] = rotated(head * dim, i);
      } else {
        expected_v[place] = ToFloat(input[token * width + column]);
      }
    }
  }

  kernels.rope_append({.qkv = qkv.data(),
                       .positions = positions.data(),
                       .slots = slots.data(),
                       .cos = cos.data(),
                       .sin = sin.data(),
                       .k_cache = k_cache.data(),
                       .v_cache = v_cache.data(),
                       .num_tokens = num_tokens,
                       .num_heads = shape.num_heads,
                       .num_kv_heads = shape.num_kv_heads,
                       .head_dim = dim});
  ExpectNear(qkv, expected_qkv);
  ExpectNear(k_cache, expected_k);
  ExpectNear(v_cache, expected_v);
}

TEST_P(RowKernelsTest, RopeRotatesQueriesAndAppendsKeysAndValuesAtTheirSlots) {
  for (const RopeShape& shape :
       {RopeShape{1, 1, 2}, RopeShape{4, 2, 6}, RopeShape{3, 1, 32},
        RopeShape{8, 8, 80}, RopeShape{2, 1, 256}}) {
    CheckRopeAppend(kernels<float>(), shape);
    CheckRopeAppend(kernels<BFloat16>(), shape);
  }
}

TEST_P(RowKernelsTest, BFloat16ToFloatIsExact) {
  const std::vector<BFloat16> x = RandomArray<BFloat16>(40001, 1);
  std::vector<float> out(x.size());
  kernels<BFloat16>().to_float(
      {.x = x.data(), .out = out.data(), .size = std::ssize(x)});
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(out[i], ToFloat(x[i]));
}

// Sums of two bfloat16 that lie on, beside and away from the middle between two
// bfloat16, of all exponents.
TEST_P(RowKernelsTest, StoredBFloat16IsRoundedToNearestEven) {
  std::vector<BFloat16> residual;
  std::vector<BFloat16> x;
  std::vector<BFloat16> expected;
  for (uint32_t upper = 0; upper < 0x7f80; upper += 7) {
    for (const uint32_t lower : {0x0000u, 0x7f00u, 0x8000u, 0x8100u}) {
      const float sum = __builtin_bit_cast(float, upper << 16 | lower);
      const BFloat16 a = {static_cast<uint16_t>(upper)};
      const BFloat16 b = ToBFloat16(sum - ToFloat(a));
      residual.push_back(a);
      x.push_back(b);
      expected.push_back(ToBFloat16(ToFloat(a) + ToFloat(b)));
    }
  }
  const std::vector<BFloat16> weight(x.size(), ToBFloat16(1.0f));
  std::vector<BFloat16> out(x.size());
  kernels<BFloat16>().add_rms_norm({.residual = residual.data(),
                                    .x = x.data(),
                                    .weight = weight.data(),
                                    .out = out.data(),
                                    .num_tokens = 1,
                                    .hidden_size = std::ssize(x)});
  EXPECT_EQ(residual, expected);
}

TEST(BFloat16Test, RoundsToNearestEvenAndKeepsNaN) {
  struct Case {
    uint32_t bits;
    uint16_t expected;
  };
  for (const Case& c : {Case{0x3f800000, 0x3f80},     // 1
                        Case{0x3f808000, 0x3f80},     // tie, down to even
                        Case{0x3f818000, 0x3f82},     // tie, up to even
                        Case{0x3f808001, 0x3f81},     // above a tie
                        Case{0x7f7fffff, 0x7f80},     // largest float: infinity
                        Case{0xff800000, 0xff80},     // -infinity
                        Case{0x7f800001, 0x7fc0},     // signalling NaN
                        Case{0x80000000, 0x8000}}) {  // -0
    EXPECT_EQ(ToBFloat16(__builtin_bit_cast(float, c.bits)).bits, c.expected)
        << std::hex << c.bits;
  }
}

TEST(CpuKernelsTest, TheBestInstructionSetIsSupported) {
  EXPECT_TRUE(IsaSupported(Isa::kBaseline));
  EXPECT_TRUE(IsaSupported(BestIsa()));
}

}  // namespace
}  // namespace drover::kernels
