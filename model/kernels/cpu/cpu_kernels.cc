#include "model/kernels/cpu/cpu_kernels.h"

#include "base/check.h"

namespace drover::kernels {

// Defined in isa_kernels.cc, once per instruction set.
#define DROVER_DECLARE_TABLES(isa)              \
  namespace isa {                               \
  const KernelTable<float>& FloatTable();       \
  const KernelTable<BFloat16>& BFloat16Table(); \
  const LogitKernels& LogitTable();             \
  }
DROVER_DECLARE_TABLES(baseline)
#ifdef DROVER_KERNELS_X86
DROVER_DECLARE_TABLES(avx2)
DROVER_DECLARE_TABLES(avx512)
#endif
#undef DROVER_DECLARE_TABLES

namespace {

struct IsaTables {
  const KernelTable<float>& floats;
  const KernelTable<BFloat16>& bfloat16s;
  const LogitKernels& logits;
};

IsaTables TablesOf(Isa isa) {
  DROVER_CHECK(IsaSupported(isa), "this CPU cannot run these kernels");
#ifdef DROVER_KERNELS_X86
  if (isa == Isa::kAvx512) {
    return {avx512::FloatTable(), avx512::BFloat16Table(),
            avx512::LogitTable()};
  }
  if (isa == Isa::kAvx2) {
    return {avx2::FloatTable(), avx2::BFloat16Table(), avx2::LogitTable()};
  }
#endif
  return {baseline::FloatTable(), baseline::BFloat16Table(),
          baseline::LogitTable()};
}

}  // namespace

std::string_view IsaName(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return "baseline";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "unknown";
}

bool IsaSupported(Isa isa) {
  if (isa == Isa::kBaseline) return true;
#ifdef DROVER_KERNELS_X86
  const bool avx2 = __builtin_cpu_supports("avx2") &&
                    __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  if (isa == Isa::kAvx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

Isa BestIsa() {
  static const Isa best = IsaSupported(Isa::kAvx512) ? Isa::kAvx512
                          : IsaSupported(Isa::kAvx2) ? Isa::kAvx2
                                                     : Isa::kBaseline;
  return best;
}

template <>
const KernelTable<float>& CpuKernels<float>(Isa isa) {
  return TablesOf(isa).floats;
}

template <>
const KernelTable<BFloat16>& CpuKernels<BFloat16>(Isa isa) {
  return TablesOf(isa).bfloat16s;
}

const LogitKernels& CpuLogitKernels(Isa isa) { return TablesOf(isa).logits; }

}  // namespace drover::kernels
