#include "model/kernels/cuda/all_reduce_norm.h"

#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/partial_sums.cuh"
#include "model/kernels/cuda/rank_signals.cuh"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/cuda/sent_rows.cuh"

// Two ways. A few tokens are sent: each block writes its token's row to where
// the other ranks read it, in a form that tells of its own arrival, and has the
// whole row for the norm in registers. More are read from where they are: once
// every rank has begun, so that what it did before is complete.

namespace drover::kernels::cuda {
namespace {

constexpr int kReadThreads = 512;
constexpr int kMaxSendThreads = 1024;
constexpr int kMaxBlocksPerMultiprocessor = 2;

template <typename T>
__device__ T* X(const AllReduceNormArgs<T>& args, int32_t rank) {
  return static_cast<T*>(args.x[rank]);
}

template <typename T>
__device__ Partials OwnPartials(const AllReduceNormArgs<T>& args) {
  return {.data = args.partials,
          .count = args.num_partials,
          .stride = args.num_tokens * args.hidden_size};
}

// A token's row, which each thread has in kVecs accesses, blockDim.x apart.
template <typename T, int kVecs>
__global__ void __launch_bounds__(kMaxSendThreads)
    SendKernel(const __grid_constant__ AllReduceNormArgs<T> args) {
  constexpr int kSize = Vec<T>::kSize;
  LetNextKernelStart();
  const RowGroup& group = args.group;
  const int64_t row = blockIdx.x;
  const int64_t size = args.hidden_size;
  const auto for_vecs = [&](auto function) {
#pragma unroll
    for (int k = 0; k < kVecs; ++k) {
      const int64_t i = (threadIdx.x + int64_t{k} * blockDim.x) * kSize;
      if (i < size) function(k, i);
    }
  };
  Vec<T> weight[kVecs];
  if (args.weight != nullptr) {
    for_vecs([&](int k, int64_t i) { weight[k] = LoadVec(args.weight + i); });
  }
  WaitForInputs();
  uint32_t& calls = SignalsOf(group.regions, group.rank).sends[row];
  const SentRow<T> sent = {group, size, row, calls + 1};
  T* const residual = args.residual + row * size;
  Vec<T> own[kVecs];
  float values[kVecs][kSize] = {};
  for_vecs([&](int k, int64_t i) {
    float sums[kSize];
    LoadSums</*kInFlight=*/2>(X(args, group.rank), OwnPartials(args),
                              row * size + i, sums);
#pragma unroll
    for (int n = 0; n < kSize; ++n) own[k].values[n] = FromFloat<T>(sums[n]);
    sent.Send(i, own[k]);
    if (args.adds_residual) LoadFloats(residual + i, values[k]);
  });
  float squares = 0.0f;
  for_vecs([&](int k, int64_t i) {
    float sum[kSize];
    sent.Sum(i, own[k], sum);
#pragma unroll
    for (int n = 0; n < kSize; ++n) {
      values[k][n] = RoundTo<T>(values[k][n] + sum[n]);
      squares += values[k][n] * values[k][n];
    }
    StoreFloats(residual + i, values[k]);
  });
  // Its barriers are also between the counter's readers and its writer.
  const float inverse = InverseRms(squares, size, args.epsilon);
  if (threadIdx.x == 0) calls = sent.call;
  if (args.weight == nullptr) return;
  for_vecs([&](int k, int64_t i) {
#pragma unroll
    for (int n = 0; n < kSize; ++n) {
      values[k][n] =
          AsFloat(weight[k].values[n]) * RoundTo<T>(values[k][n] * inverse);
    }
    StoreFloats(args.out + row * size + i, values[k]);
  });
}

template <typename T>
__device__ void JoinPartials(const AllReduceNormArgs<T>& args) {
  const int64_t size = args.hidden_size;
  T* const x = X(args, args.group.rank);
  for (int64_t row = blockIdx.x; row < args.num_tokens; row += gridDim.x) {
    ForBlock<T>(size, [&](int64_t i, auto n) {
      float sums[n];
      LoadSums</*kInFlight=*/2>(x, OwnPartials(args), row * size + i, sums);
      StoreFloats(x + row * size + i, sums);
    });
  }
}

// Waits for the blocks of the same number of all ranks, which deal with the
// same rows.
template <typename T>
__device__ void MeetRanks(const AllReduceNormArgs<T>& args) {
  const RowGroup& group = args.group;
  RowSignals& own = SignalsOf(group.regions, group.rank);
  const uint32_t number = own.reads[blockIdx.x] + 1;
  __syncthreads();
  const auto rank = static_cast<int32_t>(threadIdx.x);
  if (rank < group.world_size) {
    MeetPeer(&SignalsOf(group.regions, rank).begun[blockIdx.x][group.rank],
             &own.begun[blockIdx.x][rank], number);
  }
  __syncthreads();
  if (threadIdx.x == 0) own.reads[blockIdx.x] = number;
}

template <typename T>
__global__ void __launch_bounds__(kReadThreads, kMaxBlocksPerMultiprocessor)
    ReadKernel(const __grid_constant__ AllReduceNormArgs<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  const int64_t size = args.hidden_size;
  if (args.partials != nullptr) JoinPartials(args);
  if (!args.is_here) MeetRanks(args);
  for (int64_t row = blockIdx.x; row < args.num_tokens; row += gridDim.x) {
    T* const residual = args.residual + row * size;
    float squares = 0.0f;
    ForBlock<T>(size, [&](int64_t i, auto n) {
      float sum[n] = {};
      for (int32_t rank = 0; rank < args.group.world_size; ++rank) {
        float part[n];
        LoadFloats(X(args, rank) + row * size + i, part);
#pragma unroll
        for (int k = 0; k < n; ++k) sum[k] += part[k];
      }
      float r[n] = {};
      if (args.adds_residual) LoadFloats(residual + i, r);
#pragma unroll
      for (int k = 0; k < n; ++k) {
        r[k] = RoundTo<T>(r[k] + sum[k]);
        squares += r[k] * r[k];
      }
      StoreFloats(residual + i, r);
    });
    if (args.weight == nullptr) continue;
    const float inverse = InverseRms(squares, size, args.epsilon);
    // Each thread reads back what it wrote itself.
    ForBlock<T>(size, [&](int64_t i, auto n) {
      float v[n];
      float w[n];
      LoadFloats(residual + i, v);
      LoadFloats(args.weight + i, w);
#pragma unroll
      for (int k = 0; k < n; ++k) v[k] = w[k] * RoundTo<T>(v[k] * inverse);
      StoreFloats(args.out + row * size + i, v);
    });
  }
}

template <typename T>
void LaunchSend(const AllReduceNormArgs<T>& args, CudaStream stream) {
  const int64_t num_vecs = args.hidden_size / Vec<T>::kSize;
  const auto launch = [&](auto* kernel) {
    const auto threads = static_cast<uint32_t>(
        std::min<int64_t>((num_vecs + 31) / 32 * 32, kMaxSendThreads));
    Launch(kernel,
           {.grid = dim3(static_cast<uint32_t>(args.num_tokens)),
            .block = threads},
           stream, args);
  };
  if (num_vecs <= kMaxSendThreads) return launch(SendKernel<T, 1>);
  if (num_vecs <= 2 * kMaxSendThreads) return launch(SendKernel<T, 2>);
  launch(SendKernel<T, 4>);
}

}  // namespace

size_t AllReduceNormRegionBytes(int64_t hidden_size, size_t element_bytes,
                                int32_t world_size) {
  return kRowSignalBytes + 2 * static_cast<size_t>(world_size) *
                               kMaxSentTokens *
                               SentRowBytes(hidden_size, element_bytes);
}

template <typename T>
bool CanSendRows(int64_t hidden_size) {
  return hidden_size % Vec<T>::kSize == 0 &&
         hidden_size <= 4 * kMaxSendThreads * Vec<T>::kSize;
}

template <typename T>
void AllReduceNorm(const AllReduceNormArgs<T>& args, CudaStream stream) {
  if (!args.is_here && args.num_tokens <= kMaxSentTokens &&
      CanSendRows<T>(args.hidden_size)) {
    return LaunchSend(args, stream);
  }
  // No block waits for one that finds no room.
  int64_t blocks = std::min<int64_t>(
      kMaxReadBlocks,
      kMaxBlocksPerMultiprocessor * CurrentDevice().num_multiprocessors);
  if (args.max_blocks > 0) blocks = std::min<int64_t>(blocks, args.max_blocks);
  blocks = std::min(blocks, args.num_tokens);
  Launch(ReadKernel<T>,
         {.grid = dim3(static_cast<uint32_t>(blocks)), .block = kReadThreads},
         stream, args);
}

#define DROVER_INSTANTIATE(T)            \
  template bool CanSendRows<T>(int64_t); \
  template void AllReduceNorm(const AllReduceNormArgs<T>&, CudaStream)
DROVER_INSTANTIATE(float);
DROVER_INSTANTIATE(Float16);
DROVER_INSTANTIATE(BFloat16);
#undef DROVER_INSTANTIATE

}  // namespace drover::kernels::cuda
