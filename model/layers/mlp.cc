#include "model/layers/mlp.h"

#include <utility>

#include "model/kernels/kernel_dispatch.h"

namespace drover {

using kernels::Data;
using kernels::KernelTable;

Mlp::Mlp(Linear gate_up, Linear down)
    : gate_up_(std::move(gate_up)), down_(std::move(down)) {}

at::Tensor Mlp::operator()(const at::Tensor& x,
                           const at::Tensor& scratch) const {
  const at::Tensor gate_up = gate_up_(x);
  kernels::WithKernels(x, [&]<typename T>(const KernelTable<T>& table) {
    table.silu_mul({.gate_up = Data<T>(gate_up),
                    .out = Data<T>(scratch),
                    .num_tokens = scratch.size(0),
                    .intermediate_size = scratch.size(1)});
  });
  return down_(scratch);
}

}  // namespace drover
