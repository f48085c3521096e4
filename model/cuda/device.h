#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace drover::cuda {

// The GPU that this process runs on.
struct DeviceInfo {
  std::string name;
  int32_t major = 0;  // compute capability
  int32_t minor = 0;
  int32_t driver_version = 0;  // 13000: CUDA 13.0
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};

// Makes the device the calling thread's. FAILED_PRECONDITION, by name, if
// there is none, it is older than compute capability 8.0, or the driver is
// older than the CUDA this program was built with.
absl::StatusOr<DeviceInfo> OpenDevice(int32_t index);

// Whether OpenDevice(0) would succeed.
bool HasDevice();

// Of the calling thread's device.
absl::StatusOr<int64_t> FreeDeviceBytes();

}  // namespace drover::cuda
