#pragma once

#include <optional>

#include "ATen/core/Tensor.h"

namespace drover {

// y = x W^T + b, with W in the layout that oneDNN's kernels read fastest. One
// layout serves every number of rows, so the weights exist once. Immutable; any
// number of threads may call.
class Linear {
 public:
  // weight: [out_size, in_size], float32 or bfloat16; copied, so its memory can
  // be used again. bias: [out_size], same dtype.
  Linear(const at::Tensor& weight, std::optional<at::Tensor> bias);

  // x: [num_rows, in_size] -> a new tensor [num_rows, out_size].
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  at::Tensor packed_weight_;  // opaque
  std::optional<at::Tensor> bias_;
};

}  // namespace drover
