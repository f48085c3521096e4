#include "model/cuda/few_row_products.h"

#include "model/kernels/kernels.h"

namespace drover::cuda {

using kernels::cuda::GemvArgs;
using kernels::cuda::kMaxSkinnyTokens;
using kernels::cuda::MidGemmArgs;
using kernels::cuda::SkinnyGemmArgs;

namespace {

template <typename T, template <typename> typename Args>
void TakeLinear(const DeviceLinear& linear, int32_t num_rows, Args<T>& args) {
  args.weight = static_cast<const T*>(linear.weight);
  if constexpr (requires { args.bias; }) {
    args.bias = static_cast<const T*>(linear.bias);
  }
  args.num_tokens = num_rows;
  args.in_features = linear.in_features;
  args.out_features = linear.out_features;
}

}  // namespace

template <typename T>
bool TryGemv(GemvArgs<T> args, const DeviceLinear& linear, int32_t num_rows,
             cudaStream_t stream) {
  TakeLinear(linear, num_rows, args);
  if (num_rows > kMaxGemvRows || !kernels::cuda::GemvSupported(args)) {
    return false;
  }
  kernels::cuda::Gemv(args, stream);
  return true;
}

template <typename T>
bool TrySkinnyGemm(SkinnyGemmArgs<T> args, const DeviceLinear& linear,
                   int32_t num_rows, cudaStream_t stream) {
  TakeLinear(linear, num_rows, args);
  if (!kernels::cuda::SkinnyGemmSupported(args)) return false;
  kernels::cuda::SkinnyGemm(args, stream);
  return true;
}

template <typename T>
bool TryMidGemm(MidGemmArgs<T> args, const DeviceLinear& linear,
                int32_t num_rows, cudaStream_t stream) {
  TakeLinear(linear, num_rows, args);
  if (num_rows <= kMaxSkinnyTokens || linear.bias != nullptr ||
      !kernels::cuda::MidGemmSupported(args)) {
    return false;
  }
  kernels::cuda::MidGemm(args, stream);
  return true;
}

#define DROVER_INSTANTIATE(T)                                                  \
  template bool TryGemv(GemvArgs<T>, const DeviceLinear&, int32_t,             \
                        cudaStream_t);                                         \
  template bool TrySkinnyGemm(SkinnyGemmArgs<T>, const DeviceLinear&, int32_t, \
                              cudaStream_t);                                   \
  template bool TryMidGemm(MidGemmArgs<T>, const DeviceLinear&, int32_t,       \
                           cudaStream_t);
DROVER_INSTANTIATE(float)
DROVER_INSTANTIATE(kernels::Float16)
DROVER_INSTANTIATE(kernels::BFloat16)
#undef DROVER_INSTANTIATE

}  // namespace drover::cuda
