#include "model/cuda/stream_signals.h"

#include <cuda.h>

#include "absl/strings/str_cat.h"

namespace drover::cuda {
namespace {

// One of the driver's functions, without linking it; null if it has none.
template <typename Function>
Function DriverFunction(const char* name) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  if (cudaGetDriverEntryPointByVersion(
          name, &function, 12000, cudaEnableDefault, &found) != cudaSuccess ||
      found != cudaDriverEntryPointSuccess) {
    function = nullptr;
  }
  return reinterpret_cast<Function>(function);
}

decltype(&cuStreamWriteValue32) Writer() {
  static const auto writer =
      DriverFunction<decltype(&cuStreamWriteValue32)>("cuStreamWriteValue32");
  return writer;
}

decltype(&cuStreamWaitValue32) Waiter() {
  static const auto waiter =
      DriverFunction<decltype(&cuStreamWaitValue32)>("cuStreamWaitValue32");
  return waiter;
}

absl::Status ToStatus(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("CUDA: ", what, ": error ", static_cast<int>(result)));
}

}  // namespace

bool StreamSignalsSupported() {
  return Writer() != nullptr && Waiter() != nullptr;
}

absl::Status SignalInStream(uint32_t* flag, uint32_t value,
                            cudaStream_t stream) {
  return ToStatus(Writer()(stream, reinterpret_cast<CUdeviceptr>(flag), value,
                           CU_STREAM_WRITE_VALUE_DEFAULT),
                  "cuStreamWriteValue32");
}

absl::Status AwaitInStream(uint32_t* flag, uint32_t value,
                           cudaStream_t stream) {
  return ToStatus(Waiter()(stream, reinterpret_cast<CUdeviceptr>(flag), value,
                           CU_STREAM_WAIT_VALUE_GEQ),
                  "cuStreamWaitValue32");
}

}  // namespace drover::cuda
