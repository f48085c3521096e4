#pragma once

#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"
#include "model/kernels/kernels.h"

// The linear layer for so many tokens that reading the weights and multiplying
// take about as long. Conventions of cuda_kernels.h.

namespace drover::kernels::cuda {

inline constexpr int32_t kMaxMidTokens = 256;
inline constexpr int32_t kMaxMidPartials = 4;

// Accumulated in float32. Exactly one of the outputs:
template <typename T>
struct MidGemmArgs {
  const T* x = nullptr;       // [num_tokens, in_features]
  const T* weight = nullptr;  // [out_features, in_features]
  // Of a weight [gate; up] SiluMul(x . weight^T), rounded as if by separate
  // layers: [num_tokens, out_features / 2].
  T* activated = nullptr;
  // [num_partials, num_tokens, out_features]: sums over parts of the depth, for
  // JoinRmsNorm. num_partials: MidGemmPartials(), or others to try.
  float* partials = nullptr;
  int32_t num_partials = 0;
  int32_t num_tokens = 1;
  int32_t in_features = 0;
  int32_t out_features = 0;
};

// Whether MidGemm can run, on the current device: compute capability 9.0; T is
// Float16 or BFloat16; at most kMaxMidTokens tokens; in_features a multiple of
// 64, out_features of 16; all arrays aligned to 16 bytes.
template <typename T>
bool MidGemmSupported(const MidGemmArgs<T>& args);

template <typename T>
void MidGemm(const MidGemmArgs<T>& args, CudaStream stream);

// How many parts are fastest, on the current device; up to kMaxMidPartials.
int32_t MidGemmPartials(int32_t out_features);

}  // namespace drover::kernels::cuda
