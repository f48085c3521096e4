#include "model/cuda/device.h"

#include <cuda_runtime_api.h>

#include <vector>

#include "base/cpu_affinity.h"
#include "model/cuda/cuda_status.h"
#include "model/cuda/driver_query.h"

namespace drover::cuda {

absl::StatusOr<GpuIdentity> CheckDevice(int32_t index) {
  DROVER_ASSIGN_OR_RETURN(GpuIdentity gpu, AskDriver(index));
  DROVER_RETURN_IF_ERROR(
      CheckRequirements(gpu, {.cuda_version = CUDART_VERSION,
                              .architectures = DROVER_CUDA_ARCHITECTURES}));
  return gpu;
}

absl::StatusOr<DeviceInfo> OpenDevice(int32_t index) {
  DeviceInfo info;
  DROVER_ASSIGN_OR_RETURN(info.gpu, CheckDevice(index));
  DROVER_RETURN_IF_CUDA_ERROR(cudaSetDevice(index));
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  DROVER_RETURN_IF_CUDA_ERROR(cudaMemGetInfo(&free_bytes, &total_bytes));
  info.free_bytes = static_cast<int64_t>(free_bytes);
  info.total_bytes = static_cast<int64_t>(total_bytes);
  return info;
}

absl::Status StayNearDevice(int32_t index) {
  char address[32] = {};
  const absl::Status asked = CudaStatus(
      cudaDeviceGetPCIBusId(address, sizeof(address), index), "its address");
  cudaGetLastError();  // not a later call's
  DROVER_RETURN_IF_ERROR(asked);
  DROVER_ASSIGN_OR_RETURN(const std::vector<int> cpus,
                          CpusOfPciDevice(address));
  return KeepToCpus(cpus);
}

absl::StatusOr<int64_t> FreeDeviceBytes() {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  DROVER_RETURN_IF_CUDA_ERROR(cudaMemGetInfo(&free_bytes, &total_bytes));
  return static_cast<int64_t>(free_bytes);
}

}  // namespace drover::cuda
