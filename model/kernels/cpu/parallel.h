#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "model/kernels/cpu/simd.h"

namespace drover::kernels::DROVER_KERNEL_ISA {

inline int NumThreads() {
#ifdef _OPENMP
  return omp_in_parallel() ? 1 : omp_get_max_threads();
#else
  return 1;
#endif
}

// Below this many element operations waking the other threads costs more than
// it saves.
inline constexpr int64_t kMinParallelWork = 32768;

// Calls body(i) for i in [0, count), on several threads if `work`, the element
// operations of all calls together, is worth it. Equal shares.
template <typename Body>
inline void ParallelFor(int64_t count, int64_t work, const Body& body) {
#ifdef _OPENMP
#pragma omp parallel for schedule(static) if (count > 1 && \
                                              work >= kMinParallelWork)
#endif
  for (int64_t i = 0; i < count; ++i) body(i);
  static_cast<void>(work);
}

// The same for calls of unequal length: threads take the next as they finish.
template <typename Body>
inline void ParallelForDynamic(int64_t count, int64_t work, const Body& body) {
#ifdef _OPENMP
#pragma omp parallel for schedule( \
    dynamic, 1) if (count > 1 && work >= kMinParallelWork)
#endif
  for (int64_t i = 0; i < count; ++i) body(i);
  static_cast<void>(work);
}

}  // namespace drover::kernels::DROVER_KERNEL_ISA
