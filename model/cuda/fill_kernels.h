#pragma once

#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"
#include "model/model_config.h"

namespace drover::cuda {

// A dense matrix, part of one whose rows are row_step apart.
struct DummyMatrix {
  void* data = nullptr;
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  int64_t row_step = 0;
  uint32_t seed = 0;  // of the part's first element
};

// data[r, c] = DummyWeight(seed + r * row_step + c), rounded to the dtype.
// Enqueues.
void FillDummyMatrix(const DummyMatrix& matrix, DType dtype,
                     kernels::CudaStream stream);

// data[i] = value.
void FillConstant(void* data, int64_t num_elements, DType dtype, float value,
                  kernels::CudaStream stream);

}  // namespace drover::cuda
