// OneShotAllReduce among ranks that are streams of one GPU.

#include "model/kernels/cuda/all_reduce.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "tests/model/cuda/device_array.h"

namespace drover::kernels::cuda {
namespace {

constexpr size_t kMaxBytes = 64 << 10;

class Stream {
 public:
  Stream() {
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
              cudaSuccess);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }

  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class AllReduceTest : public testing::TestWithParam<int32_t> {
 protected:
  AllReduceTest() {
    for (int32_t rank = 0; rank < world_size(); ++rank) {
      memory_.push_back(std::make_unique<DeviceArray<uint8_t>>(
          std::vector<uint8_t>(OneShotRegionBytes(kMaxBytes))));
      regions_[static_cast<size_t>(rank)] = memory_.back()->get();
      streams_.push_back(std::make_unique<Stream>());
    }
  }

  static int32_t world_size() { return GetParam(); }

  OneShotArgs<BFloat16> Args(int32_t rank, BFloat16* data,
                             int64_t count) const {
    return {.regions = regions_,
            .rank = rank,
            .world_size = world_size(),
            .data = data,
            .count = count,
            .max_bytes = kMaxBytes};
  }

  std::vector<BFloat16> RandomData(int64_t count) {
    return RandomArray(count, random_);
  }

  static std::vector<BFloat16> Sum(
      const std::vector<std::vector<BFloat16>>& data) {
    std::vector<BFloat16> sums;
    for (size_t i = 0; i < data.front().size(); ++i) {
      float sum = 0.0f;
      for (const std::vector<BFloat16>& rank : data) sum += ToFloat(rank[i]);
      sums.push_back(ToBFloat16(sum));
    }
    return sums;
  }

  cudaStream_t stream(int32_t rank) const {
    return streams_[static_cast<size_t>(rank)]->get();
  }

  std::mt19937 random_{5};
  std::vector<std::unique_ptr<DeviceArray<uint8_t>>> memory_;
  OneShotRegions regions_ = {};
  std::vector<std::unique_ptr<Stream>> streams_;
};

TEST_P(AllReduceTest, AllRanksGetTheSumInTheOrderOfRanks) {
  // One after the other without a pause, so that both places for data are in
  // use; sizes that fill no access, no block and all of the memory.
  for (const int64_t count : {1, 7, 8, 4096, 4099, 32768, 8, 20000}) {
    std::vector<std::vector<BFloat16>> data;
    std::vector<std::unique_ptr<DeviceArray<BFloat16>>> arrays;
    for (int32_t rank = 0; rank < world_size(); ++rank) {
      data.push_back(RandomData(count));
      arrays.push_back(std::make_unique<DeviceArray<BFloat16>>(data.back()));
    }
    for (int32_t rank = 0; rank < world_size(); ++rank) {
      OneShotAllReduce(
          Args(rank, arrays[static_cast<size_t>(rank)]->get(), count),
          stream(rank));
    }
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    for (const auto& array : arrays) EXPECT_EQ(array->Read(), Sum(data));
  }
}

TEST_P(AllReduceTest, ACapturedOneIsReplayed) {
  constexpr int64_t kCount = 1000;
  constexpr int kReplays = 5;
  std::vector<std::unique_ptr<DeviceArray<BFloat16>>> arrays;
  std::vector<cudaGraphExec_t> graphs;
  for (int32_t rank = 0; rank < world_size(); ++rank) {
    arrays.push_back(std::make_unique<DeviceArray<BFloat16>>(
        std::vector<BFloat16>(kCount, ToBFloat16(1.0f))));
    ASSERT_EQ(
        cudaStreamBeginCapture(stream(rank), cudaStreamCaptureModeThreadLocal),
        cudaSuccess);
    OneShotAllReduce(Args(rank, arrays.back()->get(), kCount), stream(rank));
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(stream(rank), &graph), cudaSuccess);
    ASSERT_EQ(cudaGraphInstantiate(&graphs.emplace_back(), graph, 0),
              cudaSuccess);
    cudaGraphDestroy(graph);
  }
  for (int i = 0; i < kReplays; ++i) {
    for (int32_t rank = 0; rank < world_size(); ++rank) {
      ASSERT_EQ(
          cudaGraphLaunch(graphs[static_cast<size_t>(rank)], stream(rank)),
          cudaSuccess);
    }
  }
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  float expected = 1.0f;
  for (int i = 0; i < kReplays; ++i) {
    expected *= static_cast<float>(world_size());
  }
  for (const auto& array : arrays) {
    EXPECT_EQ(array->Read(),
              std::vector<BFloat16>(kCount, ToBFloat16(expected)));
  }
  for (const cudaGraphExec_t graph : graphs) cudaGraphExecDestroy(graph);
}

INSTANTIATE_TEST_SUITE_P(Ranks, AllReduceTest, testing::Values(1, 2, 4, 8));

}  // namespace
}  // namespace drover::kernels::cuda
