#pragma once

#include <cuda.h>

#include <string>

namespace drover::testing {

// What the NVIDIA driver of this process says: a libcuda.so.1 of our own, with
// no more in it than what describes GPUs.
struct FakeDriver {
  CUresult init_result = CUDA_SUCCESS;
  int cuda_version = 13000;
  int num_gpus = 1;  // all alike
  std::string name = "NVIDIA H200";
  int major = 9;
  int minor = 0;
};

FakeDriver& TheFakeDriver();

}  // namespace drover::testing
