// How fast this GPU's memory can be read: the roof of decoding.
//
//   cuda_read_bandwidth

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace {

constexpr int64_t kBytes = int64_t{8} << 30;
constexpr int kThreads = 512;
constexpr int kLoads = 8;  // of sixteen bytes, on their way at once
constexpr int kRuns = 20;

__global__ void ReadKernel(const uint4* data, int64_t size, uint32_t* sink) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  uint32_t sum = 0;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < size;
       i += kLoads * step) {
    uint4 loaded[kLoads];
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      loaded[j] = i + j * step < size ? __ldcs(&data[i + j * step]) : uint4{};
    }
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      sum ^= loaded[j].x ^ loaded[j].y ^ loaded[j].z ^ loaded[j].w;
    }
  }
  if (sum == 1) *sink = sum;  // never: the memory is zero
}

}  // namespace

int main() {
  uint4* data = nullptr;
  uint32_t* sink = nullptr;
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess ||
      cudaMalloc(&data, kBytes) != cudaSuccess ||
      cudaMalloc(&sink, sizeof(*sink)) != cudaSuccess ||
      cudaMemset(data, 0, kBytes) != cudaSuccess) {
    std::fprintf(stderr, "no GPU with %lld free bytes\n",
                 static_cast<long long>(kBytes));
    return 1;
  }
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  float best_ms = 1e9f;
  for (int blocks_each : {1, 2, 4}) {
    for (int run = 0; run < kRuns; ++run) {
      cudaEventRecord(begin);
      ReadKernel<<<blocks_each * properties.multiProcessorCount, kThreads>>>(
          data, kBytes / int64_t{sizeof(uint4)}, sink);
      cudaEventRecord(end);
      cudaEventSynchronize(end);
      float ms = 0.0f;
      cudaEventElapsedTime(&ms, begin, end);
      best_ms = std::min(best_ms, ms);
    }
  }
  std::printf("%s: reads %.2f TB/s\n", properties.name,
              static_cast<double>(kBytes) / best_ms / 1e9);
  return cudaGetLastError() == cudaSuccess ? 0 : 1;
}
