#include "model/kernels/cuda/cuda_stream.h"

#include <array>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "model/kernels/cuda/launch.cuh"

namespace drover::kernels::cuda {

absl::Status LaunchStatus(std::string_view what) {
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(absl::string_view(what.data(), what.size()), ": ",
                   cudaGetErrorName(error), ": ", cudaGetErrorString(error)));
}

const DeviceLimits& CurrentDevice() {
  constexpr int kMaxDevices = 64;
  static std::array<std::once_flag, kMaxDevices> once;
  static std::array<DeviceLimits, kMaxDevices> limits;
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess || device >= kMaxDevices) {
    static const DeviceLimits none;
    return none;
  }
  std::call_once(once[device], [device] {
    DeviceLimits& l = limits[device];
    cudaDeviceGetAttribute(&l.major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&l.num_multiprocessors,
                           cudaDevAttrMultiProcessorCount, device);
    cudaDeviceGetAttribute(&l.max_shared_bytes,
                           cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  });
  return limits[device];
}

}  // namespace drover::kernels::cuda
