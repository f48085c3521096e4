#pragma once

#include <cstdint>

#include "model/kernels/cuda/reduce.cuh"

// Passes of one thread block over one row of logits. Every thread of the block
// calls them and gets the result.

namespace drover::kernels::cuda {

inline constexpr int32_t kNoId = INT32_MAX;

// A logit and whose it is. Better: larger, of equals the lower id.
struct RankedLogit {
  float value = -INFINITY;
  int32_t id = kNoId;

  __device__ bool IsBetterThan(const RankedLogit& other) const {
    return value > other.value || (value == other.value && id < other.id);
  }
};

template <typename Function>
__device__ void ForRow(int32_t size, Function function) {
  for (int32_t i = threadIdx.x; i < size; i += blockDim.x) function(i);
}

__device__ inline RankedLogit BestOfWarp(RankedLogit mine) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const RankedLogit other = {__shfl_xor_sync(kAllLanes, mine.value, distance),
                               __shfl_xor_sync(kAllLanes, mine.id, distance)};
    if (other.IsBetterThan(mine)) mine = other;
  }
  return mine;
}

__device__ inline RankedLogit BestOfBlock(RankedLogit mine) {
  __shared__ RankedLogit per_warp[32];
  mine = BestOfWarp(mine);
  __syncthreads();  // the last call's readers are done
  if (threadIdx.x % 32 == 0) per_warp[threadIdx.x / 32] = mine;
  __syncthreads();
  const uint32_t lane = threadIdx.x % 32;
  return BestOfWarp(lane < blockDim.x / 32 ? per_warp[lane] : RankedLogit());
}

// The passes below: sixteen bytes at a time, and kInFlight of them on their
// way, where the row allows. kPads: -inf stands for what is missing to whole
// turns.
template <int kInFlight, bool kPads, typename Function>
__device__ void ForQuads(const float* logits, int32_t size, Function function) {
  const bool is_aligned =
      size % 4 == 0 && reinterpret_cast<uintptr_t>(logits) % 16 == 0;
  if (!is_aligned) {
    return ForRow(size, [&](int32_t i) { function(i, logits[i]); });
  }
  const auto* quads = reinterpret_cast<const float4*>(logits);
  const auto step = static_cast<int32_t>(blockDim.x);
  for (int32_t first = threadIdx.x; first < size / 4;
       first += kInFlight * step) {
    float4 loaded[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      loaded[j] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
      if (first + j * step < size / 4) loaded[j] = quads[first + j * step];
    }
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      const int32_t i = first + j * step;
      if (!kPads && i >= size / 4) break;
      function(4 * i, loaded[j].x);
      function(4 * i + 1, loaded[j].y);
      function(4 * i + 2, loaded[j].z);
      function(4 * i + 3, loaded[j].w);
    }
  }
}

// Calls function(i, logits[i]) for the threads of the block to share.
template <typename Function>
__device__ void ForLogits(const float* logits, int32_t size,
                          Function function) {
  ForQuads</*kInFlight=*/4, /*kPads=*/false>(logits, size, function);
}

// The same for a function to which -inf is nothing: it may get more of those,
// and there is no branch where it has none itself.
template <typename Function>
__device__ void ForPossible(const float* logits, int32_t size,
                            Function function) {
  ForQuads</*kInFlight=*/8, /*kPads=*/true>(logits, size, function);
}

// Takes `entry` if it is larger. A thread sees its ids in ascending order, so
// of equals it has the lowest.
__device__ __forceinline__ void TakeIfLarger(bool is_wanted,
                                             const RankedLogit& entry,
                                             RankedLogit& best) {
  const bool is_taken = is_wanted && entry.value > best.value;
  best.value = is_taken ? entry.value : best.value;
  best.id = is_taken ? entry.id : best.id;
}

// The best that is worse than `bar`; id kNoId if there is none above -inf.
__device__ inline RankedLogit BestBelow(const float* logits, int32_t size,
                                        const RankedLogit& bar) {
  RankedLogit best;
  ForPossible(logits, size, [&](int32_t i, float logit) {
    const RankedLogit entry = {logit, i};
    TakeIfLarger(bar.IsBetterThan(entry), entry, best);
  });
  return BestOfBlock(best);
}

// Better than every logit.
__device__ inline RankedLogit AboveAll() { return {INFINITY, -1}; }

// Sum of e^(logit - max).
__device__ inline double SumOfExp(const float* logits, int32_t size,
                                  float max) {
  double sum = 0.0;
  ForPossible(logits, size,
              [&](int32_t, float logit) { sum += expf(logit - max); });
  return BlockSum(sum);
}

__device__ inline int32_t CountGreater(const float* logits, int32_t size,
                                       float value) {
  int32_t count = 0;
  ForPossible(logits, size,
              [&](int32_t, float logit) { count += logit > value; });
  return BlockSum(count);
}

// Order of unsigned integers = order of floats.
__device__ inline uint32_t OrderedBits(float value) {
  const uint32_t bits = __float_as_uint(value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// The float that OrderedBits makes `bits` of.
__device__ inline float FromOrderedBits(uint32_t bits) {
  return __uint_as_float((bits & 0x80000000u) != 0 ? bits & 0x7fffffffu
                                                   : ~bits);
}

// Adds to a bin in shared memory, for all lanes with the same bin at once: most
// of a row are alike, and would wait for each other. weight < 2^42.
__device__ inline void AddToBin(unsigned long long* bins, uint32_t bin,
                                uint64_t weight) {
  constexpr int kLowBits = 21;
  const uint32_t peers = __match_any_sync(__activemask(), bin);
  const uint32_t low = __reduce_add_sync(
      peers, static_cast<uint32_t>(weight) & ((1u << kLowBits) - 1));
  const uint32_t high =
      __reduce_add_sync(peers, static_cast<uint32_t>(weight >> kLowBits));
  if (threadIdx.x % 32 == static_cast<uint32_t>(__ffs(peers)) - 1) {
    atomicAdd(&bins[bin],
              (static_cast<unsigned long long>(high) << kLowBits) + low);
  }
}

// Where a radix search ended: the key, and the weight of all larger keys.
struct RadixResult {
  uint32_t key = 0;
  uint64_t weight_above = 0;
};

// The largest key such that the weight of all keys at least as large reaches
// `target`; 0 if the whole row's does not. weight(logit) counts in integers, so
// that the order of the additions does not matter. target > 0.
template <typename Key, typename Weight>
__device__ RadixResult RadixSearch(const float* logits, int32_t size,
                                   uint64_t target, Key key, Weight weight) {
  __shared__ unsigned long long bins[256];
  __shared__ RadixResult shared;
  uint32_t prefix = 0;
  uint64_t above = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    __syncthreads();
    for (int bin = threadIdx.x; bin < 256; bin += blockDim.x) bins[bin] = 0;
    __syncthreads();
    ForLogits(logits, size, [&](int32_t, float logit) {
      const uint32_t k = key(logit);
      if (shift < 24 && (k >> (shift + 8)) != (prefix >> (shift + 8))) return;
      const uint64_t w = weight(logit);
      if (w != 0) AddToBin(bins, (k >> shift) & 255, w);
    });
    __syncthreads();
    if (threadIdx.x == 0) {
      uint64_t sum = above;
      int bin = 255;
      while (bin > 0 && sum + bins[bin] < target) sum += bins[bin--];
      shared = {prefix | static_cast<uint32_t>(bin) << shift, sum};
    }
    __syncthreads();
    prefix = shared.key;
    above = shared.weight_above;
  }
  return {prefix, above};
}

}  // namespace drover::kernels::cuda
