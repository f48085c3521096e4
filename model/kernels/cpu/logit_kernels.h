#pragma once

#include "model/kernels/cpu/cpu_kernels.h"
#include "model/kernels/cpu/simd.h"

// Passes over one row of logits, for the sampler.

namespace drover::kernels::DROVER_KERNEL_ISA {

// Elements between two updates of what is kept in scalars.
inline constexpr int64_t kLogitBlock = 1024;

// The largest of x[begin, end); sets `finite` to false if a NaN or +inf is
// among them.
inline float ScanBlock(const float* x, int64_t begin, int64_t end,
                       bool& finite) {
  const VecF largest = Broadcast(__FLT_MAX__);
  VecF maxima = Broadcast(-__builtin_inff());
  VecI all_finite = VecI{} - 1;
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    const VecF v = Load(x + i);
    all_finite &= v <= largest;
    maxima = Max(v, maxima);
  }
  float max = MaxLane(maxima);
  for (int lane = 0; lane < kLanes; ++lane) finite &= all_finite[lane] != 0;
  for (; i < end; ++i) {
    finite &= x[i] <= __FLT_MAX__;
    max = x[i] > max ? x[i] : max;
  }
  return max;
}

inline LogitScan Scan(const float* x, int64_t size) {
  LogitScan scan = {-__builtin_inff(), 0, true};
  int64_t best_block = 0;
  for (int64_t begin = 0; begin < size; begin += kLogitBlock) {
    const int64_t end = begin + kLogitBlock < size ? begin + kLogitBlock : size;
    const float max = ScanBlock(x, begin, end, scan.finite);
    if (max > scan.max) {
      scan.max = max;
      best_block = begin;
    }
  }
  for (int64_t i = best_block; i < size; ++i) {
    if (x[i] == scan.max) {
      scan.argmax = static_cast<int32_t>(i);
      break;
    }
  }
  return scan;
}

inline ExpSums SumExp(const float* x, int64_t size, float max) {
  ExpSums sums = {0.0, 0.0};
  for (int64_t begin = 0; begin < size; begin += kLogitBlock) {
    const int64_t end = begin + kLogitBlock < size ? begin + kLogitBlock : size;
    VecF sum = {};
    VecF weighted = {};
    const auto add = [&](VecF v) {
      // Where the exponential is 0 anyway, -inf must not make 0 * -inf.
      const VecF difference = Max(v - max, Broadcast(-100.0f));
      const VecF weight = Exp(difference);
      sum += weight;
      weighted += weight * difference;
    };
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) add(Load(x + i));
    if (i < end) {
      float tail[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        tail[lane] = i + lane < end ? x[i + lane] : -__builtin_inff();
      }
      add(Load(tail));
    }
    sums.sum += Sum(sum);
    sums.weighted += Sum(weighted);
  }
  return sums;
}

inline int64_t CountGreater(const float* x, int64_t size, float bound) {
  int64_t count = 0;
  for (int64_t begin = 0; begin < size; begin += kLogitBlock) {
    const int64_t end = begin + kLogitBlock < size ? begin + kLogitBlock : size;
    VecI negated = {};  // a true comparison is -1
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) negated += Load(x + i) > bound;
    for (int lane = 0; lane < kLanes; ++lane) count -= negated[lane];
    for (; i < end; ++i) count += x[i] > bound ? 1 : 0;
  }
  return count;
}

}  // namespace drover::kernels::DROVER_KERNEL_ISA
