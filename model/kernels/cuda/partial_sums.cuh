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

// Elements [i, i + n) of x or, if there are partials, of their sums, of which
// kInFlight are on their way at a time.
template <int kInFlight, typename T, int n>
__device__ void LoadSums(const T* x, const Partials& partials, int64_t i,
                         float (&sums)[n]) {
  if (partials.data == nullptr) return LoadFloats(x + i, sums);
#pragma unroll
  for (int k = 0; k < n; ++k) sums[k] = 0.0f;
  for (int32_t first = 0; first < partials.count; first += kInFlight) {
    const float* const from = partials.data + first * partials.stride + i;
    alignas(16) float parts[kInFlight][n] = {};
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      if (first + j < partials.count) {
        LoadParts(from + j * partials.stride, parts[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
#pragma unroll
      for (int k = 0; k < n; ++k) sums[k] += parts[j][k];
    }
  }
#pragma unroll
  for (int k = 0; k < n; ++k) sums[k] = RoundTo<T>(sums[k]);
}

}  // namespace drover::kernels::cuda
