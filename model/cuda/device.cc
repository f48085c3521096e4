#include "model/cuda/device.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_status.h"

namespace drover::cuda {
namespace {

constexpr int kOldestMajor = 8;

std::string VersionString(int version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

absl::Status CheckDriver(int driver_version) {
  if (driver_version >= CUDART_VERSION / 1000 * 1000) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      driver_version == 0 ? std::string("no NVIDIA driver is loaded")
                          : absl::StrCat("the NVIDIA driver is for CUDA ",
                                         VersionString(driver_version)),
      "; this program needs a driver for CUDA ",
      VersionString(CUDART_VERSION / 1000 * 1000), " or later"));
}

}  // namespace

absl::StatusOr<DeviceInfo> OpenDevice(int32_t index) {
  DeviceInfo info;
  DROVER_RETURN_IF_CUDA_ERROR(cudaDriverGetVersion(&info.driver_version));
  DROVER_RETURN_IF_ERROR(CheckDriver(info.driver_version));
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess) num_devices = 0;
  if (index >= num_devices) {
    return absl::FailedPreconditionError(absl::StrCat(
        "there is no GPU ", index, ": CUDA sees ", num_devices, " of them"));
  }
  cudaDeviceProp properties;
  DROVER_RETURN_IF_CUDA_ERROR(cudaGetDeviceProperties(&properties, index));
  info.name = properties.name;
  info.major = properties.major;
  info.minor = properties.minor;
  if (info.major < kOldestMajor) {
    return absl::FailedPreconditionError(
        absl::StrCat(info.name, " has compute capability ", info.major, ".",
                     info.minor, "; at least ", kOldestMajor, ".0 is needed"));
  }
  DROVER_RETURN_IF_CUDA_ERROR(cudaSetDevice(index));
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  DROVER_RETURN_IF_CUDA_ERROR(cudaMemGetInfo(&free_bytes, &total_bytes));
  info.free_bytes = static_cast<int64_t>(free_bytes);
  info.total_bytes = static_cast<int64_t>(total_bytes);
  return info;
}

bool HasDevice() { return OpenDevice(0).ok(); }

absl::StatusOr<int64_t> FreeDeviceBytes() {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  DROVER_RETURN_IF_CUDA_ERROR(cudaMemGetInfo(&free_bytes, &total_bytes));
  return static_cast<int64_t>(free_bytes);
}

}  // namespace drover::cuda
