#pragma once

#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"
#include "model/model_config.h"

namespace drover::cuda {

// data[i] = DummyWeight(seed + i), rounded to the dtype. Enqueues.
void FillDummyMatrix(void* data, int64_t num_elements, DType dtype,
                     uint32_t seed, kernels::CudaStream stream);

// data[i] = value.
void FillConstant(void* data, int64_t num_elements, DType dtype, float value,
                  kernels::CudaStream stream);

}  // namespace drover::cuda
