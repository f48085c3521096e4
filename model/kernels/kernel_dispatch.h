#pragma once

#include <utility>

#include "ATen/core/Tensor.h"
#include "base/check.h"
#include "model/kernels/cpu/cpu_kernels.h"

namespace drover::kernels {

// Calls `function` with the kernel table for the tensor's element type:
//
//   WithKernels(x, [&]<typename T>(const KernelTable<T>& table) {
//     table.silu_mul({.gate_up = Data<T>(x), ...});
//   });
//
// The one place where layers meet a device.
template <typename Function>
void WithKernels(const at::Tensor& tensor, Function&& function) {
  if (tensor.scalar_type() == at::kBFloat16) {
    static const KernelTable<BFloat16>& table = CpuKernels<BFloat16>();
    std::forward<Function>(function)(table);
  } else {
    DROVER_CHECK(tensor.scalar_type() == at::kFloat);
    static const KernelTable<float>& table = CpuKernels<float>();
    std::forward<Function>(function)(table);
  }
}

template <typename T>
T* Data(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

}  // namespace drover::kernels
