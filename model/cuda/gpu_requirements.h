#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace drover::cuda {

// A GPU as its driver describes it. CUDA's versions: 13000 is 13.0.
struct GpuIdentity {
  std::string name;
  int32_t major = 0;  // compute capability
  int32_t minor = 0;
  int32_t driver_cuda_version = 0;  // the newest CUDA that the driver knows
  std::string driver_release;       // "580.95.05"; empty: not known
};

// What a program was made with.
struct GpuBuild {
  int32_t cuda_version = 0;        // of the CUDA runtime
  std::string_view architectures;  // "80-real,90a": as CMake spells them
};

// "9.0"
std::string CapabilityString(const GpuIdentity& gpu);
// "580.95.05, CUDA 13.0"
std::string DriverString(const GpuIdentity& gpu);

// Whether the program can run on the GPU. Pure. FAILED_PRECONDITION names the
// GPU, its compute capability and driver, and what would be needed:
//
//   - compute capability 8.0 or later,
//   - a driver for the runtime's major version of CUDA or a later one,
//   - machine code for the GPU in the program. PTX does not count: nothing is
//     compiled at start. On Hopper only 90a does, since the kernels for it are
//     chosen by the device they run on. Words as in "all" are believed on any
//     other GPU.
absl::Status CheckRequirements(const GpuIdentity& gpu, const GpuBuild& build);

// The release in what /proc/driver/nvidia/version says:
//   "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug …"
// Empty if there is none.
std::string DriverRelease(std::string_view text);

}  // namespace drover::cuda
