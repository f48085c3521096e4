#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"
#include "model/kernels/kernels.h"

// Sums over the ranks of one host by reading each other's memory, for messages
// too small for a ring to pay. Conventions of cuda_kernels.h.

namespace drover::kernels::cuda {

inline constexpr int32_t kMaxAllReduceRanks = 8;

// The memory that a rank shows the others: OneShotRegionBytes(max_bytes) of
// plain device memory, zeroed once, before any rank's first call. By rank, the
// caller's own among them; how they got here (one process, cudaIpc) does not
// matter.
using OneShotRegions = std::array<void*, kMaxAllReduceRanks>;

size_t OneShotRegionBytes(size_t max_bytes);

// data = the sum of all ranks' data: in float32, in the order of ranks, so that
// all get the same bits.
//
// Every rank makes the same calls in the same order, each on a stream of its
// own; a call ends when all ranks' have begun. It may be captured: what changes
// from call to call is in the regions. A rank that never calls leaves the
// others waiting, until their processes end.
template <typename T>
struct OneShotArgs {
  OneShotRegions regions = {};
  int32_t rank = 0;
  int32_t world_size = 1;
  T* data = nullptr;     // aligned for 16 bytes
  int64_t count = 0;     // elements
  size_t max_bytes = 0;  // of data, as the regions were made for
};

template <typename T>
void OneShotAllReduce(const OneShotArgs<T>& args, CudaStream stream);

}  // namespace drover::kernels::cuda
