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

// Elements [i, i + n) of x or, if there are partials, of their sums.
template <typename T, int n>
__device__ void LoadSums(const T* x, const Partials& partials, int64_t i,
                         float (&sums)[n]) {
  if (partials.data == nullptr) return LoadFloats(x + i, sums);
#pragma unroll
  for (int k = 0; k < n; ++k) sums[k] = 0.0f;
  for (int32_t part = 0; part < partials.count; ++part) {
    const float* from = partials.data + part * partials.stride + i;
    if constexpr (n == 1) {
      sums[0] += *from;
    } else {
#pragma unroll
      for (int k = 0; k < n; k += 4) {
        const float4 four = *reinterpret_cast<const float4*>(from + k);
        sums[k] += four.x;
        sums[k + 1] += four.y;
        sums[k + 2] += four.z;
        sums[k + 3] += four.w;
      }
    }
  }
#pragma unroll
  for (int k = 0; k < n; ++k) sums[k] = RoundTo<T>(sums[k]);
}

}  // namespace drover::kernels::cuda
