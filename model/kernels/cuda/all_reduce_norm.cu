#include "model/kernels/cuda/all_reduce_norm.h"

#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/partial_sums.cuh"
#include "model/kernels/cuda/rank_signals.cuh"
#include "model/kernels/cuda/reduce.cuh"

// Two ways. A few tokens are sent: each block writes its token's row to where
// the other ranks read it, in a form that tells of its own arrival, and has the
// whole row for the norm in registers. More are read from where they are: once
// every rank has begun, so that what it did before is complete.
//
// What is sent has two places, used in turn: who has seen all ranks begin a
// call knows that they have ended the one before, so the place of the call
// before that is free. A row's calls are counted by that row alone.

namespace drover::kernels::cuda {
namespace {

constexpr int kReadThreads = 512;
constexpr int kMaxSendThreads = 1024;
constexpr int kMaxBlocksPerMultiprocessor = 2;
constexpr int kMaxReadBlocks = 512;

// The head of a region.
struct Signals {
  // By block, the calls that each rank has begun, told by that rank.
  uint32_t begun[kMaxReadBlocks][kMaxGroupRanks];
  // The calls that this rank has begun: by block, of those that read; by row,
  // of those that send.
  uint32_t reads[kMaxReadBlocks];
  uint32_t sends[kMaxSentTokens];
};

constexpr size_t Aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }
constexpr size_t kSignalBytes = Aligned(sizeof(Signals));

// Twice the row: every word has its mark.
size_t SentRowBytes(int64_t hidden_size, size_t element_bytes) {
  return Aligned(2 * static_cast<size_t>(hidden_size) * element_bytes);
}

template <typename T>
struct KernelArgs {
  AllReduceNormArgs<T> call;
  size_t sent_row_bytes = 0;

  __device__ Signals& SignalsOf(int32_t rank) const {
    return *static_cast<Signals*>(call.regions[rank]);
  }
  // Where `rank` finds what `source` sent.
  __device__ uint4* SentRow(int32_t rank, uint32_t turn, int32_t source,
                            int64_t row) const {
    const int64_t index =
        (int64_t{turn} * call.world_size + source) * kMaxSentTokens + row;
    return reinterpret_cast<uint4*>(
        static_cast<unsigned char*>(call.regions[rank]) + kSignalBytes +
        static_cast<size_t>(index) * sent_row_bytes);
  }
  __device__ T* X(int32_t rank) const { return static_cast<T*>(call.x[rank]); }
  __device__ Partials OwnPartials() const {
    return {.data = call.partials,
            .count = call.num_partials,
            .stride = call.num_tokens * call.hidden_size};
  }
};

// The inverse of the root mean square of a row, whose squares each thread has
// added up in part.
__device__ float InverseRms(float squares, int64_t size, float epsilon) {
  return 1.0f / sqrtf(BlockSum(squares) / static_cast<float>(size) + epsilon);
}

// Each thread has kVecs accesses of the row, blockDim.x apart.
template <typename T, int kVecs>
__global__ void __launch_bounds__(kMaxSendThreads)
    SendKernel(const __grid_constant__ KernelArgs<T> args) {
  constexpr int kSize = Vec<T>::kSize;
  LetNextKernelStart();
  const AllReduceNormArgs<T>& call = args.call;
  const int64_t row = blockIdx.x;
  const int64_t num_vecs = call.hidden_size / kSize;
  const auto for_vecs = [&](auto function) {
#pragma unroll
    for (int k = 0; k < kVecs; ++k) {
      const int64_t vec = threadIdx.x + int64_t{k} * blockDim.x;
      if (vec < num_vecs) function(k, vec);
    }
  };
  Vec<T> weight[kVecs];
  if (call.weight != nullptr) {
    for_vecs([&](int k, int64_t vec) {
      weight[k] = LoadVec(call.weight + vec * kSize);
    });
  }
  WaitForInputs();
  const uint32_t number = args.SignalsOf(call.rank).sends[row] + 1;
  T* const residual = call.residual + row * call.hidden_size;
  Vec<T> own[kVecs];
  float values[kVecs][kSize] = {};
  for_vecs([&](int k, int64_t vec) {
    float sums[kSize];
    LoadSums(args.X(call.rank), args.OwnPartials(),
             row * call.hidden_size + vec * kSize, sums);
#pragma unroll
    for (int i = 0; i < kSize; ++i) own[k].values[i] = FromFloat<T>(sums[i]);
    if (call.adds_residual) LoadFloats(residual + vec * kSize, values[k]);
  });
  for (int32_t rank = 0; rank < call.world_size; ++rank) {
    if (rank == call.rank) continue;
    uint4* const to = args.SentRow(rank, number % 2, call.rank, row);
    for_vecs([&](int k, int64_t vec) {
      StoreMarked(to + 2 * vec, __builtin_bit_cast(uint4, own[k]), number);
    });
  }
  float squares = 0.0f;
  for_vecs([&](int k, int64_t vec) {
    float sum[kSize] = {};
    for (int32_t rank = 0; rank < call.world_size; ++rank) {
      const Vec<T> part =
          rank == call.rank
              ? own[k]
              : __builtin_bit_cast(
                    Vec<T>,
                    LoadMarked(args.SentRow(call.rank, number % 2, rank, row) +
                                   2 * vec,
                               number));
#pragma unroll
      for (int i = 0; i < kSize; ++i) sum[i] += AsFloat(part.values[i]);
    }
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      values[k][i] = RoundTo<T>(values[k][i] + sum[i]);
      squares += values[k][i] * values[k][i];
    }
    StoreFloats(residual + vec * kSize, values[k]);
  });
  // Its barriers are also between the counter's readers and its writer.
  const float inverse = InverseRms(squares, call.hidden_size, call.epsilon);
  if (threadIdx.x == 0) args.SignalsOf(call.rank).sends[row] = number;
  if (call.weight == nullptr) return;
  for_vecs([&](int k, int64_t vec) {
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      values[k][i] =
          AsFloat(weight[k].values[i]) * RoundTo<T>(values[k][i] * inverse);
    }
    StoreFloats(call.out + row * call.hidden_size + vec * kSize, values[k]);
  });
}

template <typename T>
__device__ void JoinPartials(const KernelArgs<T>& args) {
  const int64_t size = args.call.hidden_size;
  T* const x = args.X(args.call.rank);
  for (int64_t row = blockIdx.x; row < args.call.num_tokens; row += gridDim.x) {
    ForBlock<T>(size, [&](int64_t i, auto n) {
      float sums[n];
      LoadSums(x, args.OwnPartials(), row * size + i, sums);
      StoreFloats(x + row * size + i, sums);
    });
  }
}

// Waits for the blocks of the same number of all ranks, which deal with the
// same rows.
template <typename T>
__device__ void MeetRanks(const KernelArgs<T>& args) {
  Signals& own = args.SignalsOf(args.call.rank);
  const uint32_t number = own.reads[blockIdx.x] + 1;
  __syncthreads();
  const auto rank = static_cast<int32_t>(threadIdx.x);
  if (rank < args.call.world_size) {
    MeetPeer(&args.SignalsOf(rank).begun[blockIdx.x][args.call.rank],
             &own.begun[blockIdx.x][rank], number);
  }
  __syncthreads();
  if (threadIdx.x == 0) own.reads[blockIdx.x] = number;
}

template <typename T>
__global__ void __launch_bounds__(kReadThreads, kMaxBlocksPerMultiprocessor)
    ReadKernel(const __grid_constant__ KernelArgs<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  const AllReduceNormArgs<T>& call = args.call;
  const int64_t size = call.hidden_size;
  if (call.partials != nullptr) JoinPartials(args);
  MeetRanks(args);
  for (int64_t row = blockIdx.x; row < call.num_tokens; row += gridDim.x) {
    T* const residual = call.residual + row * size;
    float squares = 0.0f;
    ForBlock<T>(size, [&](int64_t i, auto n) {
      float sum[n] = {};
      for (int32_t rank = 0; rank < call.world_size; ++rank) {
        float part[n];
        LoadFloats(args.X(rank) + row * size + i, part);
#pragma unroll
        for (int k = 0; k < n; ++k) sum[k] += part[k];
      }
      float r[n] = {};
      if (call.adds_residual) LoadFloats(residual + i, r);
#pragma unroll
      for (int k = 0; k < n; ++k) {
        r[k] = RoundTo<T>(r[k] + sum[k]);
        squares += r[k] * r[k];
      }
      StoreFloats(residual + i, r);
    });
    if (call.weight == nullptr) continue;
    const float inverse = InverseRms(squares, size, call.epsilon);
    // Each thread reads back what it wrote itself.
    ForBlock<T>(size, [&](int64_t i, auto n) {
      float v[n];
      float w[n];
      LoadFloats(residual + i, v);
      LoadFloats(call.weight + i, w);
#pragma unroll
      for (int k = 0; k < n; ++k) v[k] = w[k] * RoundTo<T>(v[k] * inverse);
      StoreFloats(call.out + row * size + i, v);
    });
  }
}

// False: the rows are too many, or do not fit the threads.
template <typename T>
bool TrySend(const KernelArgs<T>& args, CudaStream stream) {
  constexpr int64_t kSize = Vec<T>::kSize;
  const AllReduceNormArgs<T>& call = args.call;
  if (call.num_tokens > kMaxSentTokens || call.hidden_size % kSize != 0) {
    return false;
  }
  const int64_t num_vecs = call.hidden_size / kSize;
  const auto launch = [&](auto* kernel) {
    const auto threads = static_cast<uint32_t>(
        std::min<int64_t>((num_vecs + 31) / 32 * 32, kMaxSendThreads));
    Launch(kernel,
           {.grid = dim3(static_cast<uint32_t>(call.num_tokens)),
            .block = threads},
           stream, args);
  };
  if (num_vecs <= kMaxSendThreads) {
    launch(SendKernel<T, 1>);
  } else if (num_vecs <= 2 * kMaxSendThreads) {
    launch(SendKernel<T, 2>);
  } else if (num_vecs <= 4 * kMaxSendThreads) {
    launch(SendKernel<T, 4>);
  } else {
    return false;
  }
  return true;
}

}  // namespace

size_t AllReduceNormRegionBytes(int64_t hidden_size, size_t element_bytes,
                                int32_t world_size) {
  return kSignalBytes + 2 * static_cast<size_t>(world_size) * kMaxSentTokens *
                            SentRowBytes(hidden_size, element_bytes);
}

template <typename T>
void AllReduceNorm(const AllReduceNormArgs<T>& args, CudaStream stream) {
  const KernelArgs<T> kernel_args = {
      .call = args,
      .sent_row_bytes = SentRowBytes(args.hidden_size, sizeof(T))};
  if (TrySend(kernel_args, stream)) return;
  // No block waits for one that finds no room.
  int64_t blocks = std::min<int64_t>(
      kMaxReadBlocks,
      kMaxBlocksPerMultiprocessor * CurrentDevice().num_multiprocessors);
  if (args.max_blocks > 0) blocks = std::min<int64_t>(blocks, args.max_blocks);
  blocks = std::min(blocks, args.num_tokens);
  Launch(ReadKernel<T>,
         {.grid = dim3(static_cast<uint32_t>(blocks)), .block = kReadThreads},
         stream, kernel_args);
}

template void AllReduceNorm(const AllReduceNormArgs<float>&, CudaStream);
template void AllReduceNorm(const AllReduceNormArgs<Float16>&, CudaStream);
template void AllReduceNorm(const AllReduceNormArgs<BFloat16>&, CudaStream);

}  // namespace drover::kernels::cuda
