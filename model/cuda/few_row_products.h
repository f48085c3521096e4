#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/cuda/device_weights.h"
#include "model/kernels/cuda/gemv.h"
#include "model/kernels/cuda/mid_gemm.h"
#include "model/kernels/cuda/skinny_gemm.h"

// A linear layer of few rows by a kernel of our own: `args` has its input and
// output, `linear` the rest. Where the kernel is not for so many rows, or
// cannot run, nothing is enqueued and the answer is false; Matmul takes any.
// Errors stay with CUDA, for kernels::cuda::LaunchStatus().

namespace drover::cuda {

// From three rows on SkinnyGemm is the faster one, as far as it goes. Then
// MidGemm is, where it saves SiLU's kernel or leaves the sum in parts.
inline constexpr int32_t kMaxGemvRows = 2;

template <typename T>
bool TryGemv(kernels::cuda::GemvArgs<T> args, const DeviceLinear& linear,
             int32_t num_rows, cudaStream_t stream);
template <typename T>
bool TrySkinnyGemm(kernels::cuda::SkinnyGemmArgs<T> args,
                   const DeviceLinear& linear, int32_t num_rows,
                   cudaStream_t stream);
template <typename T>
bool TryMidGemm(kernels::cuda::MidGemmArgs<T> args, const DeviceLinear& linear,
                int32_t num_rows, cudaStream_t stream);

}  // namespace drover::cuda
