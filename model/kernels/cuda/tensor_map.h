#pragma once

#include <cuda.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "model/kernels/bfloat16.h"
#include "model/kernels/cuda/cuda_stream.h"

// Maps of arrays in device memory for Hopper's tensor copies, which leave boxes
// of them in shared memory, 16-byte chunks swizzled within rows of 128 bytes.

namespace drover::kernels::cuda {

// Whether the driver knows them and the current device has such copies.
bool TensorMapsSupported();

// Only where they are supported. dims: elements, the innermost first; strides:
// bytes, of all dimensions but the first; the box's first dimension is at most
// 128 bytes. What a box has beyond dims is filled with zeros.
CUtensorMap EncodeTensorMap(CUtensorMapDataType type, uint32_t rank,
                            const void* data, const uint64_t* dims,
                            const uint64_t* strides, const uint32_t* box);

template <size_t kRank, typename T>
CUtensorMap EncodeTensorMap(const T* data,
                            const std::array<uint64_t, kRank>& dims,
                            const std::array<uint64_t, kRank - 1>& strides,
                            const std::array<uint32_t, kRank>& box) {
  constexpr CUtensorMapDataType kType = std::is_same_v<T, BFloat16>
                                            ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                            : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  return EncodeTensorMap(kType, kRank, data, dims.data(), strides.data(),
                         box.data());
}

}  // namespace drover::kernels::cuda
