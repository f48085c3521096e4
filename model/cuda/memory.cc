#include "model/cuda/memory.h"

#include <cuda_runtime_api.h>

#include "base/strings.h"
#include "model/cuda/cuda_status.h"

namespace drover::cuda {

void DeviceDeleter::operator()(void* pointer) const { cudaFree(pointer); }

void PinnedDeleter::operator()(void* pointer) const { cudaFreeHost(pointer); }

absl::StatusOr<DeviceMemory> AllocateDevice(int64_t bytes,
                                            std::string_view what) {
  if (bytes == 0) return DeviceMemory();
  void* pointer = nullptr;
  DROVER_RETURN_IF_ERROR(
      CudaStatus(cudaMalloc(&pointer, static_cast<size_t>(bytes)),
                 StrCat("allocating ", bytes, " bytes for ", what)));
  return DeviceMemory(pointer);
}

absl::StatusOr<PinnedMemory> AllocatePinned(int64_t bytes,
                                            std::string_view what) {
  if (bytes == 0) return PinnedMemory();
  void* pointer = nullptr;
  DROVER_RETURN_IF_ERROR(CudaStatus(
      cudaHostAlloc(&pointer, static_cast<size_t>(bytes), cudaHostAllocDefault),
      StrCat("page-locking ", bytes, " bytes for ", what)));
  return PinnedMemory(pointer);
}

}  // namespace drover::cuda
