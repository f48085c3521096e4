#include "model/cuda/cuda_status.h"

#include "base/strings.h"

namespace drover::cuda {

absl::Status CudaStatus(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  const std::string message = StrCat("CUDA: ", cudaGetErrorName(error), " (",
                                     cudaGetErrorString(error), ") in ", what);
  return error == cudaErrorMemoryAllocation
             ? absl::ResourceExhaustedError(message)
             : absl::InternalError(message);
}

absl::Status CublasStatus(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return absl::InternalError(
      StrCat("cuBLASLt: ", cublasLtGetStatusName(status), " in ", what));
}

}  // namespace drover::cuda
