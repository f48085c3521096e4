#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "model/kernels/cuda/all_reduce.h"
#include "tests/model/cuda/device_array.h"

namespace drover::kernels::cuda {

// Ranks that are streams of one GPU, each with memory that all see.
class RankStreams {
 public:
  RankStreams(int32_t world_size, size_t region_bytes) {
    for (int32_t rank = 0; rank < world_size; ++rank) {
      memory_.push_back(std::make_unique<DeviceArray<uint8_t>>(
          std::vector<uint8_t>(region_bytes)));
      regions_[static_cast<size_t>(rank)] = memory_.back()->get();
      EXPECT_EQ(cudaStreamCreateWithFlags(&streams_.emplace_back(),
                                          cudaStreamNonBlocking),
                cudaSuccess);
    }
  }
  RankStreams(const RankStreams&) = delete;
  RankStreams& operator=(const RankStreams&) = delete;
  ~RankStreams() {
    for (cudaStream_t stream : streams_) cudaStreamDestroy(stream);
  }

  const RankRegions& regions() const { return regions_; }

  using Enqueue = std::function<void(int32_t rank, cudaStream_t stream)>;

  // Each rank's, and waits for all.
  void Run(const Enqueue& enqueue) const {
    for (size_t rank = 0; rank < streams_.size(); ++rank) {
      enqueue(static_cast<int32_t>(rank), streams_[rank]);
    }
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }

  // As often as asked for, from a graph of each rank's.
  void Replay(int times, const Enqueue& enqueue) const {
    std::vector<cudaGraphExec_t> graphs(streams_.size());
    for (size_t rank = 0; rank < streams_.size(); ++rank) {
      ASSERT_EQ(cudaStreamBeginCapture(streams_[rank],
                                       cudaStreamCaptureModeThreadLocal),
                cudaSuccess);
      enqueue(static_cast<int32_t>(rank), streams_[rank]);
      cudaGraph_t graph = nullptr;
      ASSERT_EQ(cudaStreamEndCapture(streams_[rank], &graph), cudaSuccess);
      ASSERT_EQ(cudaGraphInstantiate(&graphs[rank], graph, 0), cudaSuccess);
      cudaGraphDestroy(graph);
    }
    for (int i = 0; i < times; ++i) {
      for (size_t rank = 0; rank < streams_.size(); ++rank) {
        ASSERT_EQ(cudaGraphLaunch(graphs[rank], streams_[rank]), cudaSuccess);
      }
    }
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    for (const cudaGraphExec_t graph : graphs) cudaGraphExecDestroy(graph);
  }

 private:
  std::vector<std::unique_ptr<DeviceArray<uint8_t>>> memory_;
  RankRegions regions_ = {};
  std::vector<cudaStream_t> streams_;
};

// An array of each rank's.
template <typename T>
using RankArrays = std::vector<std::unique_ptr<DeviceArray<T>>>;

template <typename T>
RankArrays<T> MakeRankArrays(const std::vector<std::vector<T>>& data) {
  RankArrays<T> arrays;
  for (const std::vector<T>& own : data) {
    arrays.push_back(std::make_unique<DeviceArray<T>>(own));
  }
  return arrays;
}

// In the order of ranks, in float32.
inline std::vector<float> SumOfRanks(
    const std::vector<std::vector<BFloat16>>& data) {
  std::vector<float> sums(data.front().size());
  for (const std::vector<BFloat16>& own : data) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += ToFloat(own[i]);
  }
  return sums;
}

}  // namespace drover::kernels::cuda
