#include "model/layers/rms_norm.h"

#include <utility>

#include "model/kernels/kernel_dispatch.h"

namespace drover {

using kernels::Data;
using kernels::KernelTable;

RmsNorm::RmsNorm(at::Tensor weight, double epsilon)
    : weight_(std::move(weight)), epsilon_(static_cast<float>(epsilon)) {}

void RmsNorm::operator()(const at::Tensor& x, const at::Tensor& out) const {
  kernels::WithKernels(x, [&]<typename T>(const KernelTable<T>& table) {
    table.rms_norm({.x = Data<T>(x),
                    .weight = Data<T>(weight_),
                    .out = Data<T>(out),
                    .num_tokens = x.size(0),
                    .hidden_size = x.size(1),
                    .epsilon = epsilon_});
  });
}

void RmsNorm::AddAndNorm(const at::Tensor& residual, const at::Tensor& x,
                         const at::Tensor& out) const {
  kernels::WithKernels(x, [&]<typename T>(const KernelTable<T>& table) {
    table.add_rms_norm({.residual = Data<T>(residual),
                        .x = Data<T>(x),
                        .weight = Data<T>(weight_),
                        .out = Data<T>(out),
                        .num_tokens = x.size(0),
                        .hidden_size = x.size(1),
                        .epsilon = epsilon_});
  });
}

}  // namespace drover
