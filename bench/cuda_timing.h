#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "absl/status/status.h"

// What the benches of kernels share. One thread.

namespace drover::cuda {

inline void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}
inline void Require(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
  std::exit(1);
}

// Microseconds of each of what `enqueue` enqueues `count` of: the median of
// some launches of a graph, after others by which clocks may sink.
inline double GraphMicroseconds(
    int count, int launches_before,
    const std::function<void(cudaStream_t)>& enqueue) {
  constexpr size_t kLaunches = 9;
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  Require(cudaStreamCreate(&stream));
  Require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  enqueue(stream);
  Require(cudaStreamEndCapture(stream, &graph));
  Require(cudaGraphInstantiate(&executable, graph, 0));
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  Require(cudaEventCreate(&begin));
  Require(cudaEventCreate(&end));
  for (int i = 0; i < launches_before; ++i) {
    Require(cudaGraphLaunch(executable, stream));
  }
  std::vector<float> times(kLaunches);
  for (float& time : times) {
    Require(cudaEventRecord(begin, stream));
    Require(cudaGraphLaunch(executable, stream));
    Require(cudaEventRecord(end, stream));
    Require(cudaEventSynchronize(end));
    Require(cudaEventElapsedTime(&time, begin, end));
  }
  const auto median = times.begin() + kLaunches / 2;
  std::nth_element(times.begin(), median, times.end());
  Require(cudaEventDestroy(begin));
  Require(cudaEventDestroy(end));
  Require(cudaGraphExecDestroy(executable));
  Require(cudaGraphDestroy(graph));
  Require(cudaStreamDestroy(stream));
  return double{*median} * 1e3 / count;
}

}  // namespace drover::cuda
