#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"

// Sums and gathers over the ranks of one host, which read each other's memory.
// Conventions of cuda_kernels.h.
//
// Every rank makes the same calls in the same order, each on a stream of its
// own; a call ends when all ranks' have begun. It may be captured: what changes
// from call to call is in the regions. A rank that never calls leaves the
// others waiting, until their processes end.

namespace drover::kernels::cuda {

inline constexpr int32_t kMaxGroupRanks = 8;

// The memory that a rank shows the others, by rank, the caller's own among
// them: plain device memory, zeroed once, before any rank's first call. How it
// got here (one process, cudaIpc) does not matter.
using RankRegions = std::array<void*, kMaxGroupRanks>;

// For the calls below, of up to `max_bytes` of a rank's data. A multiple of
// 256.
size_t GroupRegionBytes(size_t max_bytes);

struct GroupArgs {
  RankRegions regions = {};
  int32_t rank = 0;
  int32_t world_size = 1;
  size_t max_bytes = 0;  // as the regions were made for
};

// data = the sum of all ranks' data: in float32, in the order of ranks, so that
// all get the same bits.
template <typename T>
struct AllReduceArgs {
  GroupArgs group;
  T* data = nullptr;  // aligned for 16 bytes
  int64_t count = 0;  // elements
};

// The plain sums, which bench/cuda_all_reduce_bench compares with; what the
// model adds up is AllReduceNorm's. Each rank reads all of the others' data:
// for few ranks, or little data.
template <typename T>
void OneShotAllReduce(const AllReduceArgs<T>& args, CudaStream stream);

// Each rank adds up its share of the data, and reads the others' sums of
// theirs.
template <typename T>
void TwoShotAllReduce(const AllReduceArgs<T>& args, CudaStream stream);

// out[row, first_column[r] + i] = rank r's x[row, i].
struct AllGatherColumnsArgs {
  GroupArgs group;
  const float* x = nullptr;  // [num_rows, this rank's columns]
  float* out = nullptr;      // [num_rows, first_column[world_size]]
  int64_t num_rows = 0;
  // By rank; one more is where the last one's end.
  std::array<int64_t, kMaxGroupRanks + 1> first_column = {};
};
void AllGatherColumns(const AllGatherColumnsArgs& args, CudaStream stream);

}  // namespace drover::kernels::cuda
