#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "model/cuda/gpu_requirements.h"

namespace drover::cuda {

// What the driver says of a GPU, by CUDA's number. It needs neither the CUDA
// runtime, which says nothing of any GPU when the driver is older than itself,
// nor a context, so that it takes no memory of the GPU.
//
// NOT_FOUND: there is no driver, or no such GPU. FAILED_PRECONDITION: the
// driver does not work, and why.
absl::StatusOr<GpuIdentity> AskDriver(int32_t index);

}  // namespace drover::cuda
