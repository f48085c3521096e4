#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"

struct CUstream_st;  // what a cudaStream_t points to

namespace drover::kernels {

// A cudaStream_t, without CUDA's headers.
using CudaStream = CUstream_st*;

// IEEE half precision, laid out like every other library's. It exists on the
// GPU only, so the host has no conversions.
struct Float16 {
  uint16_t bits;

  bool operator==(const Float16&) const = default;
};
static_assert(sizeof(Float16) == 2);

}  // namespace drover::kernels

namespace drover::kernels::cuda {

// How launches went since the last call on this thread: the functions of this
// folder enqueue and return nothing, and CUDA keeps the first error. `what`
// names the work for the message. Does not wait, so it does not see an error
// that a kernel meets while it runs. Clears an error that is not sticky.
absl::Status LaunchStatus(std::string_view what);

}  // namespace drover::kernels::cuda
