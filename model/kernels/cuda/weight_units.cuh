#pragma once

#include <cuda.h>

#include <array>
#include <cstdint>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/mbarrier.cuh"
#include "model/kernels/cuda/tensor_map.h"

// How a weight and tokens come to the tensor cores: in chunks of 64 of the
// depth. Of each 16 rows of the weight, a unit, they get the even ones first,
// with silu_mul the gate's: a thread then has neighbours, or a gate and its up.

namespace drover::kernels::cuda {

inline constexpr int kUnitRows = 16;
inline constexpr int kDepth = 64;  // of a chunk: rows of 128 bytes
inline constexpr uint32_t kRowBytes = kDepth * 2;
inline constexpr uint32_t kUnitBytes = kUnitRows * kRowBytes;

// Of so many tokens, in shared memory.
__host__ __device__ constexpr int32_t RowsOfX(int32_t num_tokens) {
  return (num_tokens + 7) / 8 * 8;
}

template <typename T>
__device__ __forceinline__ T SiluMul(float gate, float up) {
  return FromFloat<T>(Silu<T>(RoundTo<T>(gate)) * RoundTo<T>(up));
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

// Of a ring's stages, in shared memory: `full` when the copies have come,
// `empty` when all warps have done with them.
class StageBarriers {
 public:
  __device__ StageBarriers(uint64_t* full, uint64_t* empty, int32_t num_stages)
      : full_(full), empty_(empty), num_stages_(num_stages) {}

  __device__ Barrier full(int stage) const { return Barrier(full_ + stage); }
  __device__ Barrier empty(int stage) const { return Barrier(empty_ + stage); }
  __device__ int32_t num_stages() const { return num_stages_; }

  // One thread.
  __device__ void Init(uint32_t num_warps) const {
    for (int stage = 0; stage < num_stages_; ++stage) {
      full(stage).Init(1);
      empty(stage).Init(num_warps);
    }
    PublishBarriers();
  }

 private:
  uint64_t* const full_;
  uint64_t* const empty_;
  const int32_t num_stages_;
};

#endif

// A place in a ring of stages.
struct Place {
  int stage = 0;
  uint32_t phase = 0;

  __device__ void Next(int num_stages) {
    if (++stage == num_stages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

// Boxes of `units` in `chunks` of the depth, which come last, so that each is a
// tile of its own in shared memory. weight: [out_features, in_features].
template <typename T>
CUtensorMap WeightMap(const T* weight, int32_t out_features,
                      int32_t in_features, bool silu_mul, uint32_t units,
                      uint32_t chunks) {
  const auto depth = static_cast<uint64_t>(in_features);
  const auto rows = static_cast<uint64_t>(out_features);
  const uint64_t row_bytes = depth * 2;
  std::array<uint64_t, 4> strides = {2 * row_bytes, row_bytes,
                                     kUnitRows * row_bytes, kRowBytes};
  if (silu_mul) {
    strides = {row_bytes, rows / 2 * row_bytes, 8 * row_bytes, kRowBytes};
  }
  return EncodeTensorMap<5, T>(weight,
                               {kDepth, 8, 2, rows / kUnitRows, depth / kDepth},
                               strides, {kDepth, 8, 2, units, chunks});
}

// Of all tokens. x: [num_tokens, in_features].
template <typename T>
CUtensorMap XMap(const T* x, int32_t num_tokens, int32_t in_features,
                 uint32_t chunks) {
  const auto depth = static_cast<uint64_t>(in_features);
  return EncodeTensorMap<3, T>(
      x, {kDepth, static_cast<uint64_t>(num_tokens), depth / kDepth},
      {depth * 2, kRowBytes},
      {kDepth, static_cast<uint32_t>(RowsOfX(num_tokens)), chunks});
}

}  // namespace drover::kernels::cuda
