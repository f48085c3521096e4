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

// GatherRows of a table that holds the rows of ids [first_id, first_id +
// num_table_rows) only; the others come out as zeros.
template <typename T>
struct GatherPartArgs {
  GatherRowsArgs<T> gather;
  int32_t first_id = 0;
  int32_t num_table_rows = 0;
};
template <typename T>
void GatherPart(const GatherPartArgs<T>& args, CudaStream stream);

template <typename T>
void RmsNorm(const RmsNormArgs<T>& args, CudaStream stream);

// residual += the sums of `partials`, rounded to T: what products leave; out =
// RmsNorm(residual).
template <typename T>
struct JoinRmsNormArgs {
  T* residual = nullptr;            // [num_tokens, hidden_size], updated
  const float* partials = nullptr;  // [num_partials, num_tokens, hidden_size]
  const T* weight = nullptr;        // [hidden_size]
  T* out = nullptr;                 // [num_tokens, hidden_size]
  int32_t num_partials = 0;
  int64_t num_tokens = 0;
  int64_t hidden_size = 0;
  float epsilon = 1e-5f;
};
template <typename T>
void JoinRmsNorm(const JoinRmsNormArgs<T>& args, CudaStream stream);

template <typename T>
void RopeAppend(const RopeAppendArgs<T>& args, CudaStream stream);

template <typename T>
void SiluMul(const SiluMulArgs<T>& args, CudaStream stream);

template <typename T>
void ConvertToFloat(const ToFloatArgs<T>& args, CudaStream stream);

}  // namespace drover::kernels::cuda
