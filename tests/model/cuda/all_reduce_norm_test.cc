#include "model/kernels/cuda/all_reduce_norm.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/model/cuda/device_array.h"
#include "tests/model/cuda/rank_streams.h"

namespace drover::kernels::cuda {
namespace {

// Eight ranks' blocks must have room on one GPU.
constexpr int32_t kMaxBlocks = 32;
constexpr float kEpsilon = 1e-5f;

// residual and out for a rank's x, as the header has it.
struct Expected {
  std::vector<BFloat16> residual;
  std::vector<BFloat16> out;
};

Expected Reference(const std::vector<std::vector<BFloat16>>& x,
                   const std::vector<BFloat16>& residual,
                   const std::vector<BFloat16>& weight) {
  Expected expected;
  const size_t size = weight.size();
  const std::vector<float> sums = SumOfRanks(x);
  for (size_t i = 0; i < sums.size(); ++i) {
    expected.residual.push_back(ToBFloat16(ToFloat(residual[i]) + sums[i]));
  }
  for (size_t row = 0; row < sums.size() / size; ++row) {
    const BFloat16* values = &expected.residual[row * size];
    double squares = 0.0;
    for (size_t i = 0; i < size; ++i) {
      squares += std::pow(ToFloat(values[i]), 2.0);
    }
    const auto inverse = static_cast<float>(
        1.0 / std::sqrt(squares / static_cast<double>(size) + kEpsilon));
    for (size_t i = 0; i < size; ++i) {
      const BFloat16 normed = ToBFloat16(ToFloat(values[i]) * inverse);
      expected.out.push_back(ToBFloat16(ToFloat(weight[i]) * ToFloat(normed)));
    }
  }
  return expected;
}

class AllReduceNormTest : public testing::TestWithParam<int32_t> {
 protected:
  static int32_t world_size() { return GetParam(); }

  RankStreams MakeRanks(int64_t hidden_size) const {
    return {world_size(), AllReduceNormRegionBytes(
                              hidden_size, sizeof(BFloat16), world_size())};
  }

  std::vector<std::vector<BFloat16>> EachRanks(int64_t count) {
    std::vector<std::vector<BFloat16>> data;
    for (int32_t rank = 0; rank < world_size(); ++rank) {
      data.push_back(RandomArray(count, random_));
    }
    return data;
  }
  template <typename T>
  RankArrays<T> Same(const std::vector<T>& data) const {
    return MakeRankArrays(
        std::vector<std::vector<T>>(static_cast<size_t>(world_size()), data));
  }

  static RowGroup Group(const RankStreams& ranks, int32_t rank) {
    return {
        .regions = ranks.regions(), .rank = rank, .world_size = world_size()};
  }

  static RankRegions Pointers(const RankArrays<BFloat16>& arrays) {
    RankRegions pointers = {};
    for (size_t rank = 0; rank < arrays.size(); ++rank) {
      pointers[rank] = arrays[rank]->get();
    }
    return pointers;
  }

  static void ExpectNear(const std::vector<BFloat16>& values,
                         const std::vector<BFloat16>& expected) {
    ASSERT_EQ(values.size(), expected.size());
    for (size_t i = 0; i < values.size(); ++i) {
      // The order in which squares are added up may turn a rounding.
      ASSERT_NEAR(ToFloat(values[i]), ToFloat(expected[i]),
                  0.01f * std::abs(ToFloat(expected[i])) + 1e-6f)
          << i;
    }
  }

  std::mt19937 random_{5};
};

TEST_P(AllReduceNormTest, AddsTheSumToTheResidualStreamAndNormsIt) {
  // Sent and read, with more rows than blocks; 4099 fills no access, 10240 is
  // read by more than two of a thread, of 2880 and 5000 some threads have none.
  for (const int64_t hidden_size : {512, 2880, 5000, 8192, 10240, 4099}) {
    const RankStreams ranks = MakeRanks(hidden_size);
    const int64_t sent = std::min<int64_t>(kMaxSentTokens, 128 / world_size());
    for (const int64_t num_tokens : {int64_t{1}, sent, kMaxSentTokens + 1,
                                     int64_t{1}, int64_t{100}, sent}) {
      const int64_t count = num_tokens * hidden_size;
      const auto x = EachRanks(count);
      const std::vector<BFloat16> stream_data = RandomArray(count, random_);
      const std::vector<BFloat16> weight_data =
          RandomArray(hidden_size, random_);
      const Expected expected = Reference(x, stream_data, weight_data);
      const RankArrays<BFloat16> own = MakeRankArrays(x);
      const RankArrays<BFloat16> residual = Same(stream_data);
      const RankArrays<BFloat16> out = Same(stream_data);
      const DeviceArray<BFloat16> weight(weight_data);
      ranks.Run([&](int32_t rank, cudaStream_t stream) {
        const auto index = static_cast<size_t>(rank);
        AllReduceNorm<BFloat16>({.group = Group(ranks, rank),
                                 .x = Pointers(own),
                                 .residual = residual[index]->get(),
                                 .weight = weight.get(),
                                 .out = out[index]->get(),
                                 .num_tokens = num_tokens,
                                 .hidden_size = hidden_size,
                                 .epsilon = kEpsilon,
                                 .max_blocks = kMaxBlocks},
                                stream);
      });
      for (size_t rank = 0; rank < out.size(); ++rank) {
        ASSERT_EQ(residual[rank]->Read(), expected.residual);
        ASSERT_EQ(out[rank]->Read(), out[0]->Read());
      }
      ExpectNear(out[0]->Read(), expected.out);
    }
  }
}

TEST_P(AllReduceNormTest, MayBeginTheStream) {
  constexpr int64_t kHidden = 1024;
  const RankStreams ranks = MakeRanks(kHidden);
  for (const int64_t num_tokens : {int64_t{12}, kMaxSentTokens + 16}) {
    const int64_t count = num_tokens * kHidden;
    const auto sums = EachRanks(count);
    const RankArrays<BFloat16> x = MakeRankArrays(sums);
    const RankArrays<BFloat16> residual = Same(RandomArray(count, random_));
    ranks.Run([&](int32_t rank, cudaStream_t stream) {
      const auto index = static_cast<size_t>(rank);
      AllReduceNorm<BFloat16>({.group = Group(ranks, rank),
                               .x = Pointers(x),
                               .adds_residual = false,
                               .residual = residual[index]->get(),
                               .num_tokens = num_tokens,
                               .hidden_size = kHidden,
                               .max_blocks = kMaxBlocks},
                              stream);
    });
    const std::vector<BFloat16> nothing(static_cast<size_t>(count),
                                        ToBFloat16(0.0f));
    const std::vector<BFloat16> expected =
        Reference(sums, nothing, std::vector<BFloat16>(kHidden)).residual;
    for (const auto& array : residual) EXPECT_EQ(array->Read(), expected);
  }
}

TEST_P(AllReduceNormTest, ACapturedOneIsReplayed) {
  constexpr int64_t kHidden = 512;
  constexpr int kReplays = 5;
  const RankStreams ranks = MakeRanks(kHidden);
  const std::vector<BFloat16> ones(kHidden, ToBFloat16(1.0f));
  const RankArrays<BFloat16> x = Same(ones);
  const RankArrays<BFloat16> residual = Same(ones);
  ranks.Replay(kReplays, [&](int32_t rank, cudaStream_t stream) {
    const auto index = static_cast<size_t>(rank);
    AllReduceNorm<BFloat16>({.group = Group(ranks, rank),
                             .x = Pointers(x),
                             .residual = residual[index]->get(),
                             .num_tokens = 1,
                             .hidden_size = kHidden,
                             .max_blocks = kMaxBlocks},
                            stream);
  });
  const std::vector<BFloat16> expected(
      kHidden, ToBFloat16(1.0f + static_cast<float>(kReplays * world_size())));
  for (const auto& array : residual) EXPECT_EQ(array->Read(), expected);
}

INSTANTIATE_TEST_SUITE_P(Ranks, AllReduceNormTest, testing::Values(1, 2, 4, 8));

}  // namespace
}  // namespace drover::kernels::cuda
