#pragma once

#include "ATen/core/Tensor.h"

namespace drover {

// Root-mean-square normalisation (Zhang and Sennrich, 2019). Immutable.
class RmsNorm {
 public:
  // weight: [hidden_size].
  RmsNorm(at::Tensor weight, double epsilon);

  // x, out: [num_rows, hidden_size].
  void operator()(const at::Tensor& x, const at::Tensor& out) const;

  // residual += x, then out = norm(residual), in one pass.
  void AddAndNorm(const at::Tensor& residual, const at::Tensor& x,
                  const at::Tensor& out) const;

 private:
  at::Tensor weight_;
  float epsilon_;
};

}  // namespace drover
