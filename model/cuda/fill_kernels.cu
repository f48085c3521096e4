#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "model/cuda/fill_kernels.h"
#include "model/dummy_weights.h"

namespace drover::cuda {
namespace {

constexpr int kNumBlocks = 2048;
constexpr int kNumThreads = 256;

__device__ void Store(float value, float& out) { out = value; }
__device__ void Store(float value, __half& out) { out = __float2half(value); }
__device__ void Store(float value, __nv_bfloat16& out) {
  out = __float2bfloat16(value);
}

template <typename T>
__global__ void DummyKernel(T* data, DummyMatrix matrix) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  const int64_t columns = matrix.num_columns;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
       i < matrix.num_rows * columns; i += stride) {
    const int64_t place = i / columns * matrix.row_step + i % columns;
    Store(DummyWeight(matrix.seed + static_cast<uint32_t>(place)), data[i]);
  }
}

template <typename T>
__global__ void ConstantKernel(T* data, int64_t num_elements, float value) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
       i < num_elements; i += stride) {
    Store(value, data[i]);
  }
}

// Calls function(T*) for the dtype's T.
template <typename Function>
void WithType(void* data, DType dtype, Function function) {
  switch (dtype) {
    case DType::kFloat32:
      return function(static_cast<float*>(data));
    case DType::kFloat16:
      return function(static_cast<__half*>(data));
    case DType::kBFloat16:
      return function(static_cast<__nv_bfloat16*>(data));
  }
}

}  // namespace

void FillDummyMatrix(const DummyMatrix& matrix, DType dtype,
                     kernels::CudaStream stream) {
  WithType(matrix.data, dtype, [&](auto* typed) {
    DummyKernel<<<kNumBlocks, kNumThreads, 0, stream>>>(typed, matrix);
  });
}

void FillConstant(void* data, int64_t num_elements, DType dtype, float value,
                  kernels::CudaStream stream) {
  WithType(data, dtype, [&](auto* typed) {
    ConstantKernel<<<kNumBlocks, kNumThreads, 0, stream>>>(typed, num_elements,
                                                           value);
  });
}

}  // namespace drover::cuda
