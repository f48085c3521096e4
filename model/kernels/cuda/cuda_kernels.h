#pragma once

#include "model/kernels/cuda/cuda_stream.h"
#include "model/kernels/kernels.h"

// The kernels of model/kernels/kernels.h on the current CUDA device, for T =
// float, Float16 or BFloat16. Every pointer is device memory, 16-byte aligned
// at the start of each array. A call enqueues on `stream` and returns; it is
// safe in stream capture, and allocates nothing. Errors: LaunchStatus().
//
// On compute capability 9.0 and later kernels start by programmatic dependent
// launch: each waits, before it touches memory, until the kernel before it in
// the stream is complete. Mixing them with other kernels, with copies and with
// events needs no care.

namespace drover::kernels::cuda {

template <typename T>
void GatherRows(const GatherRowsArgs<T>& args, CudaStream stream);

template <typename T>
void RmsNorm(const RmsNormArgs<T>& args, CudaStream stream);

template <typename T>
void AddRmsNorm(const AddRmsNormArgs<T>& args, CudaStream stream);

template <typename T>
void RopeAppend(const RopeAppendArgs<T>& args, CudaStream stream);

template <typename T>
void SiluMul(const SiluMulArgs<T>& args, CudaStream stream);

template <typename T>
void ConvertToFloat(const ToFloatArgs<T>& args, CudaStream stream);

}  // namespace drover::kernels::cuda
