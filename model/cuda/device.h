#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/cuda/gpu_requirements.h"

namespace drover::cuda {

// The GPU that this process runs on.
struct DeviceInfo {
  GpuIdentity gpu;
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};

// Whether this program can run on GPU `index`, before anything of it is used.
// NOT_FOUND: there is none. FAILED_PRECONDITION: there is, and by name why not
// (see CheckRequirements).
absl::StatusOr<GpuIdentity> CheckDevice(int32_t index);

// Makes the device the calling thread's, if CheckDevice finds it good.
absl::StatusOr<DeviceInfo> OpenDevice(int32_t index);

// Keeps the calling thread and those that it starts on the CPUs near the
// device, so that what they pin and poll lies on its side of the machine. The
// error says why they cannot: the kernel does not tell which these are, or none
// of them may be used.
absl::Status StayNearDevice(int32_t index);

// Of the calling thread's device.
absl::StatusOr<int64_t> FreeDeviceBytes();

}  // namespace drover::cuda
