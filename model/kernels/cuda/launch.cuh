#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"

// How every kernel of this folder is launched: by programmatic dependent
// launch where the device knows it.
//
// The rule that makes it safe: each thread of each kernel calls WaitForInputs()
// before it touches memory that a kernel before it might write or read. So
// kernels complete in the order of the stream, however early they start. One
// that has nothing to do with the kernel in front, which has called
// WaitForInputs() before it let this one start, may wait at its end instead, in
// one thread block: what it reads has been complete since before the kernel in
// front began, and nothing has read it meanwhile.

namespace drover::kernels::cuda {

#ifdef __CUDACC__
// Until the kernel before this one in the stream is complete.
__device__ __forceinline__ void WaitForInputs() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel's blocks start as soon as there is room.
__device__ __forceinline__ void LetNextKernelStart() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
#endif  // __CUDACC__

// What launches ask about the current device, once per device.
struct DeviceLimits {
  int major = 0;
  int num_multiprocessors = 0;
  int max_shared_bytes = 0;  // per block, after opting in
};
const DeviceLimits& CurrentDevice();

struct LaunchShape {
  dim3 grid;
  uint32_t block = 1;
  size_t shared_bytes = 0;
  uint32_t cluster = 1;  // thread blocks along x; no effect before Hopper
};

// A launch as CUDA is told of it.
class LaunchConfig {
 public:
  LaunchConfig(const LaunchShape& shape, CudaStream stream) {
    attributes_[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes_[0].val.programmaticStreamSerializationAllowed = 1;
    attributes_[1].id = cudaLaunchAttributeClusterDimension;
    attributes_[1].val.clusterDim = {.x = shape.cluster, .y = 1, .z = 1};
    config_.gridDim = shape.grid;
    config_.blockDim = dim3(shape.block);
    config_.dynamicSmemBytes = shape.shared_bytes;
    config_.stream = stream;
    config_.attrs = attributes_;
    config_.numAttrs = CurrentDevice().major < 9 ? 0
                       : shape.cluster > 1       ? 2
                                                 : 1;
  }
  LaunchConfig(const LaunchConfig&) = delete;
  LaunchConfig& operator=(const LaunchConfig&) = delete;

  const cudaLaunchConfig_t* get() const { return &config_; }

 private:
  cudaLaunchAttribute attributes_[2] = {};
  cudaLaunchConfig_t config_ = {};
};

// Errors stay with CUDA, for LaunchStatus(). An empty grid is no launch.
template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), const LaunchShape& shape,
            CudaStream stream, const Arguments&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  const LaunchConfig config(shape, stream);
  cudaLaunchKernelEx(config.get(), kernel,
                     static_cast<Parameters>(arguments)...);
}

// The clusters of such a launch that run at once; its grid does not matter.
template <typename... Parameters>
int32_t MaxActiveClusters(void (*kernel)(Parameters...), LaunchShape shape) {
  shape.grid = dim3(shape.cluster);
  const LaunchConfig config(shape, /*stream=*/nullptr);
  int clusters = 0;
  cudaOccupancyMaxActiveClusters(&clusters, kernel, config.get());
  return clusters;
}

// Lets `kernel` have `bytes` of dynamic shared memory, on the current device,
// and leaves as much of a multiprocessor's memory to thread blocks as there is:
// the next kernel's can then start beside it.
// It costs a microsecond, so callers do it once per kernel and thread, which
// has one device.
template <typename Kernel>
void AllowSharedMemory(Kernel* kernel, size_t bytes) {
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(bytes));
  cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                       cudaSharedmemCarveoutMaxShared);
}

}  // namespace drover::kernels::cuda
