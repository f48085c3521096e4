#pragma once

#include <cstddef>
#include <cstdint>

#include "model/kernels/cuda/all_reduce.h"
#include "model/kernels/cuda/cuda_stream.h"

// A sum over the ranks of one host, the residual stream and the norm after it
// in one kernel. Conventions of cuda_kernels.h; what all_reduce.h says of calls
// holds here too.

namespace drover::kernels::cuda {

// Up to so many tokens are sent to the other ranks; more are read from them.
inline constexpr int64_t kMaxSentTokens = 32;

// What a rank shows the others for it: plain device memory, zeroed once, before
// any rank's first call. A multiple of 256.
size_t AllReduceNormRegionBytes(int64_t hidden_size, size_t element_bytes,
                                int32_t world_size);

struct RowGroup {
  RankRegions regions = {};
  int32_t rank = 0;
  int32_t world_size = 0;
};

// Whether rows of this size can be sent.
template <typename T>
bool CanSendRows(int64_t hidden_size);

// sum = the sum of all ranks' x: in float32, in the order of ranks, so that all
// get the same bits; residual = sum, or residual + sum; out =
// RmsNorm(residual).
template <typename T>
struct AllReduceNormArgs {
  RowGroup group;

  // By rank, its x [num_tokens, hidden_size], in memory that this rank sees,
  // all ranks with kMemory. A rank may change its own again when the call after
  // this one has ended.
  RankRegions x = {};
  // Every rank's x is complete and this rank sees it: nobody is waited for.
  bool is_here = false;
  bool adds_residual = true;
  T* residual = nullptr;      // [num_tokens, hidden_size], updated
  const T* weight = nullptr;  // [hidden_size]; null: no norm, no out
  T* out = nullptr;           // [num_tokens, hidden_size]
  int64_t num_tokens = 0;
  int64_t hidden_size = 0;
  float epsilon = 1e-5f;
  // Thread blocks; 0: as many as the device runs at once. Fewer where ranks
  // share a device, whose blocks would wait for those that find no room.
  int32_t max_blocks = 0;
};
template <typename T>
void AllReduceNorm(const AllReduceNormArgs<T>& args, CudaStream stream);

}  // namespace drover::kernels::cuda
