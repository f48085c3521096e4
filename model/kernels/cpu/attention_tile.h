#pragma once

#include "model/kernels/cpu/simd.h"
#include "model/kernels/kernels.h"

// The inner loops of attention, over tiles held in float32.
//
// Each output element is computed by the same operations in the same order
// whatever rows lie beside it, so that a query's result does not depend on how
// queries were batched.

namespace drover::kernels::DROVER_KERNEL_ISA {

// Query rows of a tile. A row is one query token and one of the query heads
// that share a key-value head.
inline constexpr int kTileRows = 32;
// Keys between two updates of the running softmax.
inline constexpr int kChunkKeys = 64;

// Vectors of T in a cache line.
template <typename T>
inline constexpr int kVectorsPerLine = 64 / (kLanes * sizeof(T));

inline constexpr float kMinusInfinity = -__builtin_inff();

// Calls body(integral_constant R, row) with R = 4, then 2, then 1, until the
// rows are covered.
template <typename Body>
inline void ForRowGroups(int num_rows, const Body& body) {
  int row = 0;
  for (; row + 4 <= num_rows; row += 4) {
    body(std::integral_constant<int, 4>(), row);
  }
  if (row + 2 <= num_rows) {
    body(std::integral_constant<int, 2>(), row);
    row += 2;
  }
  if (row < num_rows) body(std::integral_constant<int, 1>(), row);
}

// Each kernel asks for the matching part of the block that comes next while it
// works on its own: all at once would fill the queue of misses and hold up the
// loads behind it.

// scores[r][t] = q[r] . k[t] for kRows rows and kLanes / kRows keys. `dim` is
// a multiple of kLanes.
template <int kRows, typename K>
[[gnu::always_inline]] inline void DotTile(const float* q, const K* k,
                                           const K* next, int dim,
                                           float* scores) {
  constexpr int kKeys = kLanes / kRows;
  VecF sums[kLanes] = {};
  for (int d = 0; d < dim; d += kLanes) {
    VecF keys[kKeys];
#pragma GCC unroll 16
    for (int t = 0; t < kKeys; ++t) {
      keys[t] = Load(k + t * dim + d);
      if (t % kVectorsPerLine<K> == 0) {
        __builtin_prefetch(next + d * kKeys + t * kLanes);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const VecF query = Load(q + r * dim + d);
#pragma GCC unroll 16
      for (int t = 0; t < kKeys; ++t) sums[r * kKeys + t] += query * keys[t];
    }
  }
  const VecF dots = SumEach(sums);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    __builtin_memcpy(scores + r * kChunkKeys,
                     reinterpret_cast<const float*>(&dots) + r * kKeys,
                     kKeys * sizeof(float));
  }
}

// scores[r][t] = q[r] . k[t] for all rows and the keys of one KV block.
// q: [num_rows, dim]; k: [16, dim]; scores: [num_rows, kChunkKeys].
template <typename K>
void DotBlock(const float* q, int num_rows, const K* k, const K* next, int dim,
              float* scores) {
  ForRowGroups(num_rows, [&](auto rows, int row) {
    constexpr int kRows = decltype(rows)::value;
    constexpr int kKeys = kLanes / kRows;
    for (int t = 0; t < kKvBlockSize; t += kKeys) {
      DotTile<kRows>(q + row * dim, k + t * dim, next + t * dim, dim,
                     scores + row * kChunkKeys + t);
    }
  });
}

// out[r][d] += sum over t of p[r][t] * v[t][d], for kRows rows and kVecs
// vectors of d.
template <int kRows, int kVecs, typename V>
[[gnu::always_inline]] inline void AccumulateTile(const float* p, const V* v,
                                                  const V* next, int num_keys,
                                                  int dim, float* out) {
  VecF sums[kRows * kVecs];
#pragma GCC unroll 16
  for (int i = 0; i < kRows * kVecs; ++i) {
    sums[i] = Load(out + (i / kVecs) * dim + (i % kVecs) * kLanes);
  }
  for (int t = 0; t < num_keys; ++t) {
    VecF values[kVecs];
#pragma GCC unroll 16
    for (int c = 0; c < kVecs; ++c) {
      values[c] = Load(v + t * dim + c * kLanes);
      if (c % kVectorsPerLine<V> == 0) {
        __builtin_prefetch(next + (t * kVecs + c) * kLanes);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kRows * kVecs; ++i) {
      sums[i] += values[i % kVecs] * p[(i / kVecs) * kChunkKeys + t];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows * kVecs; ++i) {
    Store(sums[i], out + (i / kVecs) * dim + (i % kVecs) * kLanes);
  }
}

// out += p * v for all rows and the first `num_keys` keys of one KV block.
// p: [num_rows, kChunkKeys]; v: [16, dim]; out: [num_rows, dim].
template <typename V>
void AccumulateBlock(const float* p, int num_rows, const V* v, const V* next,
                     int num_keys, int dim, float* out) {
  constexpr int kVecs = kLanes == 16 ? 4 : 2;
  ForRowGroups(num_rows, [&](auto rows, int row) {
    constexpr int kRows = decltype(rows)::value;
    const float* p_rows = p + row * kChunkKeys;
    float* out_rows = out + row * dim;
    int d = 0;
    for (; d + kVecs * kLanes <= dim; d += kVecs * kLanes) {
      AccumulateTile<kRows, kVecs>(p_rows, v + d, next + d * kKvBlockSize,
                                   num_keys, dim, out_rows + d);
    }
    for (; d < dim; d += kLanes) {
      AccumulateTile<kRows, 1>(p_rows, v + d, next + d * kKvBlockSize, num_keys,
                               dim, out_rows + d);
    }
  });
}

// The softmax of one query row as far as its keys were seen: out / sum is the
// attention output.
struct RunningSoftmax {
  float max = kMinusInfinity;
  float sum = 0.0f;
};

// The factor that brings sums relative to `from` to the larger maximum `to`.
inline float RescaleFactor(float from, float to) {
  if (from == to) return 1.0f;  // also if both are -inf
  return Exp(Broadcast(from - to))[0];
}

// Turns a chunk's scores into unnormalised probabilities and brings `out`,
// [dim], to the new maximum. Scores outside [visible_begin, visible_end), which
// may be empty, are as if they were not there.
inline void UpdateSoftmax(int visible_begin, int visible_end, int dim,
                          float* scores, RunningSoftmax& softmax, float* out) {
  for (int t = 0; t < visible_begin; ++t) scores[t] = kMinusInfinity;
  for (int t = visible_end; t < kChunkKeys; ++t) scores[t] = kMinusInfinity;
  VecF maxima = Broadcast(softmax.max);
  for (int t = 0; t < kChunkKeys; t += kLanes) {
    maxima = Max(Load(scores + t), maxima);
  }
  const float max = MaxLane(maxima);
  const float offset = max == kMinusInfinity ? 0.0f : max;
  VecF sums = {};
  for (int t = 0; t < kChunkKeys; t += kLanes) {
    const VecF p = Exp(Load(scores + t) - offset);
    Store(p, scores + t);
    sums += p;
  }
  const float factor = RescaleFactor(softmax.max, max);
  if (factor != 1.0f) {
    for (int d = 0; d < dim; d += kLanes) {
      Store(Load(out + d) * factor, out + d);
    }
  }
  softmax = {max, softmax.sum * factor + Sum(sums)};
}

// Adds the softmax and output of later keys to those of earlier ones.
inline void MergeSoftmax(const RunningSoftmax& later, const float* later_out,
                         int dim, RunningSoftmax& softmax, float* out) {
  const float max = later.max > softmax.max ? later.max : softmax.max;
  const float factor = RescaleFactor(softmax.max, max);
  const float later_factor = RescaleFactor(later.max, max);
  for (int d = 0; d < dim; d += kLanes) {
    Store(Load(out + d) * factor + Load(later_out + d) * later_factor, out + d);
  }
  softmax = {max, softmax.sum * factor + later.sum * later_factor};
}

}  // namespace drover::kernels::DROVER_KERNEL_ISA
