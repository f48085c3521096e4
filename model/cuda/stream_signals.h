#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "absl/status/status.h"

// Waiting and telling in the order of a stream, without a kernel: the driver's
// memory operations, on memory of any device that this process maps.

namespace drover::cuda {

bool StreamSignalsSupported();

// *flag = value, once all before it in the stream is complete.
absl::Status SignalInStream(uint32_t* flag, uint32_t value,
                            cudaStream_t stream);

// What comes after it in the stream waits until *flag has reached value. Flags
// may wrap.
absl::Status AwaitInStream(uint32_t* flag, uint32_t value, cudaStream_t stream);

}  // namespace drover::cuda
