// What starts leave each other of the matrix products that they timed.

#include "model/cuda/matmul.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/model/cuda/device_array.h"
#include "tests/model/cuda/linear_sum.h"
#include "tests/testing/scoped_environment.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover::cuda {
namespace {

using kernels::cuda::DeviceArray;
using kernels::cuda::RandomArray;

constexpr int32_t kRows = 16;
constexpr int32_t kDepth = 256;
constexpr int32_t kColumns = 128;

class MatmulChoicesTest : public ::testing::Test {
 protected:
  // A start: how many products it timed.
  int Start() {
    auto matmul = Matmul::Create(DType::kBFloat16, {kRows});
    EXPECT_THAT(matmul, IsOk());
    EXPECT_THAT(matmul->Tune({&linear_}, MatmulOutput::kStore, kRows, kRows,
                             x_.get(), out_.get()),
                IsOk());
    matmul->SaveChoices();
    EXPECT_THAT(matmul->Run(linear_, MatmulOutput::kStore, x_.get(), out_.get(),
                            kRows, /*stream=*/nullptr),
                IsOk());
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    ExpectProduct();
    return matmul->num_timed();
  }

  void ExpectProduct() const {
    const std::vector<float> out = kernels::cuda::ToFloats(out_.Read());
    for (int32_t token = 0; token < kRows; ++token) {
      for (int32_t row = 0; row < kColumns; ++row) {
        const auto [sum, magnitude] = kernels::cuda::LinearSum(
            x_values_, weight_values_, kDepth, token, row);
        ASSERT_NEAR(out[static_cast<size_t>(token * kColumns + row)], sum,
                    1e-5 * magnitude + std::abs(sum) / 64 + 1e-3);
      }
    }
  }

  // The file that starts share.
  std::string File() const {
    std::vector<std::string> files;
    for (const auto& entry :
         std::filesystem::directory_iterator(cache_.path() + "/drover")) {
      files.push_back(entry.path());
    }
    EXPECT_EQ(files.size(), 1u);
    return files.at(0);
  }

  const TempDir cache_;
  const testing::ScopedEnvironment environment_{"XDG_CACHE_HOME",
                                                cache_.path().c_str()};
  std::mt19937 random_{3};
  const std::vector<kernels::BFloat16> x_values_ =
      RandomArray(kRows * kDepth, random_);
  const std::vector<kernels::BFloat16> weight_values_ =
      RandomArray(kColumns * kDepth, random_);
  const DeviceArray<kernels::BFloat16> x_{x_values_};
  const DeviceArray<kernels::BFloat16> weight_{weight_values_};
  const DeviceArray<kernels::BFloat16> out_{
      RandomArray(kRows * kColumns, random_)};
  const DeviceLinear linear_ = {
      .weight = weight_.get(), .in_features = kDepth, .out_features = kColumns};
};

TEST_F(MatmulChoicesTest, TheNextStartTimesNothing) {
  EXPECT_EQ(Start(), 1);
  EXPECT_EQ(Start(), 0);
}

TEST_F(MatmulChoicesTest, WhatCannotRunIsTimedAnew) {
  EXPECT_EQ(Start(), 1);
  // Rows, columns, depth, output, bias, and words that are no algorithm.
  std::ostringstream line;
  line << kRows << ' ' << kColumns << ' ' << kDepth << " 0 0";
  for (int i = 0; i < 8; ++i) line << " 123456789";
  std::ofstream(File()) << line.str() << '\n';
  EXPECT_EQ(Start(), 1);
  EXPECT_EQ(Start(), 0);
}

TEST_F(MatmulChoicesTest, AFileThatIsCutOffCostsTimeOnly) {
  EXPECT_EQ(Start(), 1);
  std::ofstream(File()) << kRows << ' ' << kColumns << " 25";
  EXPECT_EQ(Start(), 1);
}

}  // namespace
}  // namespace drover::cuda
