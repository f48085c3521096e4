#pragma once

#include <cstdint>
#include <type_traits>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/mbarrier.cuh"
#include "model/kernels/cuda/reduce.cuh"

// Products on tensor cores (mma.sync m16n8k16) and how tiles get there: from
// global to shared memory by asynchronous copies, from there by ldmatrix.

namespace drover::kernels::cuda {

inline constexpr float kLog2E = 1.4426950408889634f;

// A tile in shared memory: rows of kHeadDim, whose 16-byte chunks are permuted
// within groups of eight, so that eight rows of one column hit all banks.
template <typename T, int kNumRows, int kHeadDim>
struct Tile {
  static constexpr int kChunks = kHeadDim / 8;
  uint4 chunks[kNumRows * kChunks];

  __device__ uint4* At(int row, int chunk) {
    return &chunks[row * kChunks + (chunk ^ (row & 7))];
  }
};

// Starts the copy of sixteen bytes, or of zeros unless `is_valid`.
__device__ __forceinline__ void StartCopy(uint4* to, const void* from,
                                          bool is_valid) {
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(to)),
      "l"(from), "r"(is_valid ? 16 : 0)
      : "memory");
}

// Ends a group of copies, which may be empty.
__device__ __forceinline__ void EndCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Until all but the last kPending groups of this thread are there.
template <int kPending>
__device__ __forceinline__ void AwaitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four 8 x 8 matrices; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void LoadMatrices(const void* row,
                                             uint32_t (&to)[4]) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
      : "r"(SharedAddress(row))
      : "memory");
}

__device__ __forceinline__ void LoadTransposed(const void* row,
                                               uint32_t (&to)[4]) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
      : "r"(SharedAddress(row))
      : "memory");
}

// c += a . b for 16 x 16 by 16 x 8.
__device__ __forceinline__ void MultiplyAdd(BFloat16, const uint32_t (&a)[4],
                                            uint32_t b0, uint32_t b1,
                                            float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void MultiplyAdd(Float16, const uint32_t (&a)[4],
                                            uint32_t b0, uint32_t b1,
                                            float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <typename T>
__device__ __forceinline__ uint32_t PackPair(float low, float high) {
  uint32_t pair;
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
}

// Of two rows of a warp's 16, lane / 4 and lane / 4 + 8. Base 2.
struct Softmax {
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};  // of this thread's columns
};

// What a thread holds of its warp's rows.
template <int kHeadDim>
struct RowState {
  float acc[kHeadDim / 8][4] = {};
  Softmax softmax;
};

// Adds dimensions [16 k, 16 k + 16) to the scores of 16 rows against kNumKeys
// keys.
template <typename T, int kNumKeys, typename KeyTile>
__device__ __forceinline__ void AddScores(const uint32_t (&q)[4], int k,
                                          KeyTile& keys,
                                          float (&scores)[kNumKeys / 8][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kNumKeys / 16; ++n) {
    uint32_t b[4];
    LoadMatrices(
        keys.At(16 * n + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2), b);
    MultiplyAdd(T{}, q, b[0], b[1], scores[2 * n]);
    MultiplyAdd(T{}, q, b[2], b[3], scores[2 * n + 1]);
  }
}

__device__ __forceinline__ float Exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// Takes products, -inf where hidden, into the softmax: they become weights.
// `scale`, above 0, includes log2(e). rescale: what earlier weights of a row
// are worth now.
template <int kNumKeys>
__device__ __forceinline__ void Weigh(float (&scores)[kNumKeys / 8][4],
                                      float scale, Softmax& softmax,
                                      float (&rescale)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float max = -INFINITY;
#pragma unroll
    for (int n = 0; n < kNumKeys / 8; ++n) {
      max = fmaxf(max, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    }
    max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 1));
    max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 2));
    max = fmaxf(max * scale, softmax.max[r]);
    const float base = max == -INFINITY ? 0.0f : max;
    rescale[r] = Exp2(softmax.max[r] - base);
    softmax.max[r] = max;
    softmax.sum[r] *= rescale[r];
#pragma unroll
    for (int n = 0; n < kNumKeys / 8; ++n) {
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        scores[n][i] = Exp2(fmaf(scores[n][i], scale, -base));
        softmax.sum[r] += scores[n][i];
      }
    }
  }
}

template <int kColumns>
__device__ __forceinline__ void Rescale(float (&acc)[kColumns][4],
                                        const float (&rescale)[2]) {
#pragma unroll
  for (int d = 0; d < kColumns; ++d) {
#pragma unroll
    for (int i = 0; i < 4; ++i) acc[d][i] *= rescale[i / 2];
  }
}

// Weights of 16 keys as a product's left factor.
template <typename T, int kColumns>
__device__ __forceinline__ void PackWeights(const float (&weights)[kColumns][4],
                                            int k, uint32_t (&to)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float* pair = &weights[2 * k + i / 2][i % 2 * 2];
    to[i] = PackPair<T>(pair[0], pair[1]);
  }
}

template <typename T, int kHeadDim, int kNumKeys, typename ValueTile>
__device__ __forceinline__ void AddValues(
    const float (&weights)[kNumKeys / 8][4], ValueTile& values,
    RowState<kHeadDim>& state) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < kNumKeys / 16; ++k) {
    uint32_t a[4];
    PackWeights<T>(weights, k, a);
#pragma unroll
    for (int d = 0; d < kHeadDim / 16; ++d) {
      uint32_t b[4];
      LoadTransposed(values.At(16 * k + lane % 16, 2 * d + lane / 16), b);
      MultiplyAdd(T{}, a, b[0], b[1], state.acc[2 * d]);
      MultiplyAdd(T{}, a, b[2], b[3], state.acc[2 * d + 1]);
    }
  }
}

// This thread's rows' sums over all columns.
__device__ __forceinline__ float SumOfRow(float sum) {
  sum += __shfl_xor_sync(kAllLanes, sum, 1);
  return sum + __shfl_xor_sync(kAllLanes, sum, 2);
}

// A softmax over some keys in memory: head_dim means, then the maximum (base 2)
// and the sum of weights, and two more so that the next is aligned as well.
template <int kHeadDim>
inline constexpr int kPartialSize = kHeadDim + 4;

// The first num_rows of a warp's rows into shared memory.
template <int kHeadDim>
__device__ void StorePartials(const RowState<kHeadDim>& state, int32_t num_rows,
                              float (*partials)[kPartialSize<kHeadDim>]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = SumOfRow(state.softmax.sum[r]);
    const int row = lane / 4 + 8 * r;
    if (row >= num_rows) continue;
    const float inverse = sum != 0.0f ? 1.0f / sum : 0.0f;
    float* to = partials[row];
#pragma unroll
    for (int d = 0; d < kHeadDim / 8; ++d) {
      *reinterpret_cast<float2*>(to + 8 * d + lane % 4 * 2) = {
          state.acc[d][2 * r] * inverse, state.acc[d][2 * r + 1] * inverse};
    }
    if (lane % 4 == 0) {
      to[kHeadDim] = state.softmax.max[r];
      to[kHeadDim + 1] = sum;
    }
  }
}

}  // namespace drover::kernels::cuda
