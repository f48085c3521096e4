#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "model/kernels/bfloat16.h"

namespace drover::kernels::cuda {

// x . weight^T for a token and a row, in double precision, and the sum of its
// terms' magnitudes. x: [., in_features]; weight: [., in_features].
inline std::pair<double, double> LinearSum(const std::vector<BFloat16>& x,
                                           const std::vector<BFloat16>& weight,
                                           int32_t in_features, int32_t token,
                                           int32_t row) {
  double sum = 0.0;
  double magnitude = 0.0;
  for (int32_t i = 0; i < in_features; ++i) {
    const double product =
        double{ToFloat(weight[int64_t{row} * in_features + i])} *
        ToFloat(x[int64_t{token} * in_features + i]);
    sum += product;
    magnitude += std::abs(product);
  }
  return {sum, magnitude};
}

// [parts, size]: the sums over parts.
inline std::vector<float> SumOfParts(const std::vector<float>& partials,
                                     int64_t size) {
  std::vector<float> sums(size);
  for (size_t i = 0; i < partials.size(); ++i) sums[i % size] += partials[i];
  return sums;
}

}  // namespace drover::kernels::cuda
