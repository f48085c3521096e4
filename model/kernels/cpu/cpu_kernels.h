#pragma once

#include <cstdint>
#include <string_view>

#include "model/kernels/kernels.h"

namespace drover::kernels {

// Instruction sets that the kernels are compiled for. Elsewhere than on x86-64
// there is only the baseline.
enum class Isa {
  kBaseline,  // what every CPU of the architecture has
  kAvx2,      // AVX2, FMA, F16C
  kAvx512,    // AVX-512 F, BW, DQ, VL
};

std::string_view IsaName(Isa isa);

// Whether this binary has the code and this CPU can run it.
bool IsaSupported(Isa isa);

// The best supported one.
Isa BestIsa();

// The CPU's kernels for T = float or BFloat16. `isa` must be supported.
// Thread-safe to get and to call; a call with enough work spreads over OpenMP's
// threads (omp_set_num_threads in the calling thread says how many).
template <typename T>
const KernelTable<T>& CpuKernels(Isa isa = BestIsa());

// Passes over one row of logits, for the sampler. x: [size] float32, size > 0.
struct LogitScan {
  float max;       // ignores NaN
  int32_t argmax;  // lowest index on ties; 0 if nothing is above -inf
  bool finite;     // no NaN and no +inf; -inf is fine
};
struct ExpSums {
  double sum;       // of e^(x - max)
  double weighted;  // of (x - max) e^(x - max)
};
struct LogitKernels {
  LogitScan (*scan)(const float* x, int64_t size);
  ExpSums (*exp_sums)(const float* x, int64_t size, float max);
  int64_t (*count_greater)(const float* x, int64_t size, float bound);
};

const LogitKernels& CpuLogitKernels(Isa isa = BestIsa());

}  // namespace drover::kernels
