#pragma once

#include "ATen/core/Tensor.h"
#include "model/layers/linear.h"

namespace drover {

// down(silu(gate(x)) * up(x)): the gated MLP of Shazeer's "GLU Variants Improve
// Transformer" (2020), with gate and up as one product. Immutable.
class Mlp {
 public:
  // gate_up: the rows of gate, then those of up.
  Mlp(Linear gate_up, Linear down);

  // x: [num_rows, hidden_size]; scratch: [num_rows, intermediate_size] is
  // overwritten. Returns a new tensor [num_rows, hidden_size].
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& scratch) const;

 private:
  Linear gate_up_;
  Linear down_;
};

}  // namespace drover
