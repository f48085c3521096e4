#pragma once

#include <cstdint>

#include "model/kernels/cuda/all_reduce_norm.h"
#include "model/kernels/cuda/cuda_stream.h"
#include "model/kernels/kernels.h"

// The linear layer for a few tokens, where reading the weights is all the work:
// they stream through shared memory by bulk copies that start before the kernel
// in front has finished. Conventions of cuda_kernels.h.

namespace drover::kernels::cuda {

// What happens to x on its way in. One token only, except kNone.
enum class GemvInput {
  kNone,
  // RmsNorm of x with norm_weight and epsilon.
  kRmsNorm,
  // SiluMul: x is [2 * in_features], gate then up.
  kSiluMul,
  // AllReduceNorm of x over GemvArgs::ranks, whose Gemv before this one
  // `begins_all_reduce`; residual_sum gets the residual stream with the sum.
  kAllReduceNorm,
};

// out = in(x) . weight^T + bias + residual, accumulated in float32 and rounded
// to T before the residual is added, as the separate layers do.
//
// So a decode step needs no kernel of its own for norms, SiLU and residuals:
//
//   qkv       = Gemv(kRmsNorm, residual stream)
//   residual += Gemv(kNone, attention)
//   gate_up   = Gemv(kRmsNorm, residual stream)
//   residual += Gemv(kSiluMul, gate_up)
//
// and, with ranks, none for sums over them:
//
//   part             = Gemv(kNone, attention)
//   gate_up          = Gemv(kAllReduceNorm, part); residual += sum of parts
template <typename T>
struct GemvArgs {
  const T* x = nullptr;         // [num_tokens, in_features]
  const T* weight = nullptr;    // [out_features, in_features]
  const T* bias = nullptr;      // [out_features], or null
  const T* residual = nullptr;  // [num_tokens, out_features], or null; may be
                                // out, not x
  // Exactly one of the three; out_float is for logits, without the rounding;
  // send, with a world_size, for an AllReduceNorm of kSent tokens next.
  T* out = nullptr;            // [num_tokens, out_features]
  float* out_float = nullptr;  // [num_tokens, out_features]
  RowGroup send;
  const T* norm_weight = nullptr;  // [in_features], for kRmsNorm
  float epsilon = 1e-5f;
  GemvInput input = GemvInput::kNone;
  // For sums over ranks; in_features of kAllReduceNorm as CanSendRows has it.
  RowGroup ranks;
  bool begins_all_reduce = false;
  const T* residual_in = nullptr;  // [in_features]
  T* residual_sum = nullptr;       // [in_features], not residual_in
  int32_t num_tokens = 1;
  int32_t in_features = 0;
  int32_t out_features = 0;
};

// Whether Gemv can run, on the current device: compute capability 9.0; T is
// Float16 or BFloat16; in_features a multiple of 256 (128 for several tokens);
// num_tokens 1 ... 4, with room for x beside the weights' buffers in shared
// memory (about 100 KB for more than one token; in_features up to 40960 for
// one). Where it says no, use a general matrix product.
template <typename T>
bool GemvSupported(const GemvArgs<T>& args);

template <typename T>
void Gemv(const GemvArgs<T>& args, CudaStream stream);

}  // namespace drover::kernels::cuda
