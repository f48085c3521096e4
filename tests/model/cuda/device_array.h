#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

#include "model/kernels/bfloat16.h"

namespace drover::kernels::cuda {

// An array on the device.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : size_(values.size()) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), size_ * sizeof(T)),
              cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), size_ * sizeof(T),
                         cudaMemcpyHostToDevice),
              cudaSuccess);
    // Streams that do not wait for this one see all of it.
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* get() const { return data_; }

  std::vector<T> Read() const {
    std::vector<T> values(size_);
    EXPECT_EQ(cudaMemcpy(values.data(), data_, size_ * sizeof(T),
                         cudaMemcpyDeviceToHost),
              cudaSuccess);
    return values;
  }

 private:
  const size_t size_;
  T* data_ = nullptr;
};

// Uniform in [-1, 1].
inline std::vector<BFloat16> RandomArray(int64_t size, std::mt19937& random) {
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<BFloat16> values(static_cast<size_t>(size));
  for (BFloat16& value : values) value = ToBFloat16(uniform(random));
  return values;
}

inline std::vector<float> ToFloats(const std::vector<BFloat16>& values) {
  std::vector<float> floats;
  for (const BFloat16 value : values) floats.push_back(ToFloat(value));
  return floats;
}

}  // namespace drover::kernels::cuda
