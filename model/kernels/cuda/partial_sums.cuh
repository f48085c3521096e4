#pragma once

#include <cstdint>

#include "model/kernels/cuda/element.cuh"

namespace drover::kernels::cuda {

// Sums that lie in parts.
struct Partials {
  const float* data = nullptr;
  int32_t count = 0;
  int64_t stride = 0;
};

template <int n>
__device__ __forceinline__ void LoadParts(const float* from, float (&to)[n]) {
  if constexpr (n == 1) {
    to[0] = *from;
  } else {
#pragma unroll
    for (int k = 0; k < n; k += 4) {
      *reinterpret_cast<float4*>(to + k) =
          *reinterpret_cast<const float4*>(from + k);
    }
  }
}

// Elements [i, i + n) of x or, if there are partials, of their sums.
template <typename T, int n>
__device__ void LoadSums(const T* x, const Partials& partials, int64_t i,
                         float (&sums)[n]) {
  if (partials.data == nullptr) return LoadFloats(x + i, sums);
#pragma unroll
  for (int k = 0; k < n; ++k) sums[k] = 0.0f;
  // Two at a time are on their way.
  for (int32_t part = 0; part < partials.count; part += 2) {
    const float* const from = partials.data + part * partials.stride + i;
    alignas(16) float pair[2][n] = {};
    LoadParts(from, pair[0]);
    if (part + 1 < partials.count) LoadParts(from + partials.stride, pair[1]);
#pragma unroll
    for (int k = 0; k < n; ++k) sums[k] = sums[k] + pair[0][k] + pair[1][k];
  }
#pragma unroll
  for (int k = 0; k < n; ++k) sums[k] = RoundTo<T>(sums[k]);
}

}  // namespace drover::kernels::cuda
