#pragma once

#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"
#include "model/kernels/kernels.h"

// The linear layer for more tokens than Gemv is for and fewer than MidGemm is
// for: reading the weights is still all of the work.
// Conventions of cuda_kernels.h.

namespace drover::kernels::cuda {

inline constexpr int32_t kMaxSkinnyTokens = 64;

// out = x . weight^T + bias + residual, accumulated in float32 and rounded to T
// before the residual is added, as the separate layers do. With silu_mul the
// weight is [gate; up] and out = SiluMul(x . weight^T + bias).
template <typename T>
struct SkinnyGemmArgs {
  const T* x = nullptr;         // [num_tokens, in_features]
  const T* weight = nullptr;    // [out_features, in_features]
  const T* bias = nullptr;      // [out_features], or null
  const T* residual = nullptr;  // as out, or null; may be out, not x
  // x's rows are normed on their way: they are some SkinnyGemm's `weighted`,
  // and these [num_tokens, num_x_squares] its `squares`. Or null.
  const float* x_squares = nullptr;
  int32_t num_x_squares = 0;
  float epsilon = 0.0f;
  T* out = nullptr;  // [num_tokens, out_features], half with silu_mul
  // With a residual, for the norm that follows: its weight [out_features];
  // where out * norm_weight goes, as out; and of out's squares each row's sum,
  // in parts: [num_tokens, NumSquares()]. Or null.
  const T* norm_weight = nullptr;
  T* weighted = nullptr;
  float* squares = nullptr;
  bool silu_mul = false;
  int32_t num_tokens = 1;
  int32_t in_features = 0;
  int32_t out_features = 0;
};

// Whether SkinnyGemm can run, on the current device: compute capability 9.0; T
// is Float16 or BFloat16; at most kMaxSkinnyTokens tokens; in_features a
// multiple of 64, out_features of 16; all arrays but bias aligned to 16 bytes.
// Where it says no, use another matrix product.
template <typename T>
bool SkinnyGemmSupported(const SkinnyGemmArgs<T>& args);

template <typename T>
void SkinnyGemm(const SkinnyGemmArgs<T>& args, CudaStream stream);

// Parts of a row's squares, on the current device.
int32_t NumSquares(int32_t out_features);

// How the work is dealt out. SkinnyGemm chooses; tests try others.
struct SkinnyGemmShape {
  // Two thread blocks have half of the depth each, and join their sums: always
  // with a residual, never with silu_mul.
  bool in_pairs = false;
  int32_t num_blocks = 1;  // that share the rows, or pairs of them
  int32_t num_units = 1;   // of 16 rows, that a block has at once: up to 16
  // How its ring is divided: into at most 8 stages.
  int32_t num_stages = 2;
  int32_t stage_chunks = 1;  // of 64 of the depth
};
template <typename T>
SkinnyGemmShape ChooseSkinnyGemmShape(const SkinnyGemmArgs<T>& args);
template <typename T>
void SkinnyGemm(const SkinnyGemmArgs<T>& args, const SkinnyGemmShape& shape,
                CudaStream stream);

}  // namespace drover::kernels::cuda
