// Compiled once per instruction set, each time with DROVER_KERNEL_ISA another
// name: see model/kernels/CMakeLists.txt. Must not include what defines inline
// functions outside of that namespace.
#include "model/kernels/cpu/attention.h"
#include "model/kernels/cpu/logit_kernels.h"
#include "model/kernels/cpu/row_kernels.h"

namespace drover::kernels::DROVER_KERNEL_ISA {
namespace {

template <typename T>
constexpr KernelTable<T> kTable = {
    .gather_rows = GatherRows<T>,
    .rms_norm = RmsNorm<T>,
    .add_rms_norm = AddRmsNorm<T>,
    .rope_append = RopeAppend<T>,
    .paged_attention = PagedAttention<T>,
    .silu_mul = SiluMul<T>,
    .to_float = ConvertToFloat<T>,
};

constexpr LogitKernels kLogitKernels = {
    .scan = Scan,
    .exp_sums = SumExp,
    .count_greater = CountGreater,
};

}  // namespace

const KernelTable<float>& FloatTable() { return kTable<float>; }
const KernelTable<BFloat16>& BFloat16Table() { return kTable<BFloat16>; }
const LogitKernels& LogitTable() { return kLogitKernels; }

}  // namespace drover::kernels::DROVER_KERNEL_ISA
