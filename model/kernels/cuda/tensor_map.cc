#include "model/kernels/cuda/tensor_map.h"

#include <cuda_runtime.h>

#include <array>

#include "model/kernels/cuda/launch.cuh"

namespace drover::kernels::cuda {
namespace {

using EncodeFunction = decltype(&cuTensorMapEncodeTiled);

// The driver's, without linking it; null if it has none.
EncodeFunction TensorMapEncoder() {
  static const EncodeFunction encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                         12000, cudaEnableDefault,
                                         &found) != cudaSuccess ||
        found != cudaDriverEntryPointSuccess) {
      function = nullptr;
    }
    return reinterpret_cast<EncodeFunction>(function);
  }();
  return encoder;
}

}  // namespace

bool TensorMapsSupported() {
  return CurrentDevice().major == 9 && TensorMapEncoder() != nullptr;
}

CUtensorMap EncodeTensorMap(CUtensorMapDataType type, uint32_t rank,
                            const void* data, const uint64_t* dims,
                            const uint64_t* strides, const uint32_t* box) {
  constexpr std::array<uint32_t, 5> kOnes = {1, 1, 1, 1, 1};
  CUtensorMap map;
  TensorMapEncoder()(
      &map, type, rank, const_cast<void*>(data), dims, strides, box,
      kOnes.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return map;
}

}  // namespace drover::kernels::cuda
