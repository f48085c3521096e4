#include "model/kernels/cuda/all_reduce.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

#include "tests/model/cuda/device_array.h"
#include "tests/model/cuda/rank_streams.h"

namespace drover::kernels::cuda {
namespace {

constexpr size_t kMaxBytes = 64 << 10;

class AllReduceTest : public testing::TestWithParam<int32_t> {
 protected:
  static int32_t world_size() { return GetParam(); }

  GroupArgs Group(int32_t rank) const {
    return {.regions = ranks_.regions(),
            .rank = rank,
            .world_size = world_size(),
            .max_bytes = kMaxBytes};
  }

  std::vector<std::vector<BFloat16>> RandomData(int64_t count) {
    std::vector<std::vector<BFloat16>> data;
    for (int32_t rank = 0; rank < world_size(); ++rank) {
      data.push_back(RandomArray(count, random_));
    }
    return data;
  }

  std::mt19937 random_{5};
  const RankStreams ranks_{world_size(), GroupRegionBytes(kMaxBytes)};
};

TEST_P(AllReduceTest, AllRanksGetTheSumInTheOrderOfRanks) {
  // One after the other without a pause, so that both places for data are in
  // use; sizes that fill no access, no block and all of the memory; both ways
  // in turn, which share the memory.
  for (const int64_t count : {1, 7, 8, 4096, 4099, 32768, 8, 20000}) {
    for (const auto& all_reduce :
         {OneShotAllReduce<BFloat16>, TwoShotAllReduce<BFloat16>}) {
      const std::vector<std::vector<BFloat16>> data = RandomData(count);
      const RankArrays<BFloat16> arrays = MakeRankArrays(data);
      ranks_.Run([&](int32_t rank, cudaStream_t stream) {
        all_reduce({.group = Group(rank),
                    .data = arrays[static_cast<size_t>(rank)]->get(),
                    .count = count},
                   stream);
      });
      std::vector<BFloat16> sums;
      for (const float sum : SumOfRanks(data)) sums.push_back(ToBFloat16(sum));
      for (const auto& array : arrays) EXPECT_EQ(array->Read(), sums);
    }
  }
}

TEST_P(AllReduceTest, ACapturedOneIsReplayed) {
  constexpr int64_t kCount = 1000;
  constexpr int kReplays = 5;
  const RankArrays<BFloat16> arrays =
      MakeRankArrays(std::vector<std::vector<BFloat16>>(
          static_cast<size_t>(world_size()),
          std::vector<BFloat16>(kCount, ToBFloat16(1.0f))));
  ranks_.Replay(kReplays, [&](int32_t rank, cudaStream_t stream) {
    OneShotAllReduce<BFloat16>(
        {.group = Group(rank),
         .data = arrays[static_cast<size_t>(rank)]->get(),
         .count = kCount},
        stream);
  });
  float expected = 1.0f;
  for (int i = 0; i < kReplays; ++i) {
    expected *= static_cast<float>(world_size());
  }
  for (const auto& array : arrays) {
    EXPECT_EQ(array->Read(),
              std::vector<BFloat16>(kCount, ToBFloat16(expected)));
  }
}

TEST_P(AllReduceTest, ColumnsOfAllRanksComeTogether) {
  // Of different numbers, which no access divides.
  constexpr int64_t kRows = 5;
  AllGatherColumnsArgs all = {.num_rows = kRows};
  for (int32_t rank = 0; rank < world_size(); ++rank) {
    const auto index = static_cast<size_t>(rank);
    all.first_column[index + 1] = all.first_column[index] + 301 + 7 * rank;
  }
  const int64_t row_size = all.first_column[static_cast<size_t>(world_size())];
  std::vector<float> whole(static_cast<size_t>(kRows * row_size));
  std::uniform_real_distribution<float> uniform;
  for (float& value : whole) value = uniform(random_);
  std::vector<std::vector<float>> parts;
  for (int32_t rank = 0; rank < world_size(); ++rank) {
    const auto index = static_cast<size_t>(rank);
    std::vector<float>& part = parts.emplace_back();
    for (int64_t row = 0; row < kRows; ++row) {
      const auto begin = whole.begin() + row * row_size;
      part.insert(part.end(), begin + all.first_column[index],
                  begin + all.first_column[index + 1]);
    }
  }
  const RankArrays<float> x = MakeRankArrays(parts);
  const RankArrays<float> out = MakeRankArrays(std::vector<std::vector<float>>(
      static_cast<size_t>(world_size()), std::vector<float>(whole.size())));
  ranks_.Run([&](int32_t rank, cudaStream_t stream) {
    AllGatherColumnsArgs args = all;
    args.group = Group(rank);
    args.x = x[static_cast<size_t>(rank)]->get();
    args.out = out[static_cast<size_t>(rank)]->get();
    AllGatherColumns(args, stream);
  });
  for (const auto& array : out) EXPECT_EQ(array->Read(), whole);
}

INSTANTIATE_TEST_SUITE_P(Ranks, AllReduceTest, testing::Values(1, 2, 4, 8));

}  // namespace
}  // namespace drover::kernels::cuda
