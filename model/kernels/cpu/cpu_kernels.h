#pragma once

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

}  // namespace drover::kernels
