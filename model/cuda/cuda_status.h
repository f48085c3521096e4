#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <string_view>

#include "absl/status/status.h"
#include "base/status_macros.h"

namespace drover::cuda {

// OK, or an error that says what was tried and what CUDA answered:
// RESOURCE_EXHAUSTED if memory ran out, INTERNAL otherwise.
absl::Status CudaStatus(cudaError_t error, std::string_view what);
absl::Status CublasStatus(cublasStatus_t status, std::string_view what);

}  // namespace drover::cuda

// Calls a function of the CUDA runtime; an error names the call.
#define DROVER_RETURN_IF_CUDA_ERROR(call) \
  DROVER_RETURN_IF_ERROR(::drover::cuda::CudaStatus((call), #call))
#define DROVER_RETURN_IF_CUBLAS_ERROR(call) \
  DROVER_RETURN_IF_ERROR(::drover::cuda::CublasStatus((call), #call))
