#include "model/kernels/cuda/all_reduce_norm.h"

#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
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

// A token's row, which a block's threads have in registers: each kVecs vectors,
// blockDim.x apart.
template <typename T, int kVecs>
class HeldRows {
 public:
  static constexpr int kSize = Vec<T>::kSize;
  using Values = float[kVecs][kSize];

  // Reads the weight, which may be before the inputs are there.
  __device__ explicit HeldRows(const AllReduceNormArgs<T>& args) : args_(args) {
    if (args.weight == nullptr) return;
    ForVecs([&](int k, int64_t i) { weight_[k] = LoadWords(args.weight + i); });
  }

  // Calls function(k, i): vector k begins at element i.
  template <typename Function>
  __device__ void ForVecs(Function function) const {
#pragma unroll
    for (int k = 0; k < kVecs; ++k) {
      const int64_t i = (threadIdx.x + int64_t{k} * blockDim.x) * kSize;
      if (i < args_.hidden_size) function(k, i);
    }
  }

  // The stream's row is the sum; and the norm of it. The block's barriers are
  // in it.
  __device__ void Finish(int64_t row, Values& sum) const {
    const int64_t first = row * args_.hidden_size;
    float squares = 0.0f;
    ForVecs([&](int k, int64_t i) {
#pragma unroll
      for (int n = 0; n < kSize; ++n) {
        sum[k][n] = RoundTo<T>(sum[k][n]);
        squares += sum[k][n] * sum[k][n];
      }
      StoreFloats(args_.residual + first + i, sum[k]);
    });
    const float inverse = InverseRms(squares, args_.hidden_size, args_.epsilon);
    if (args_.weight == nullptr) return;
    ForVecs([&](int k, int64_t i) {
      const Vec<T> weight = AsVec<T>(weight_[k]);
#pragma unroll
      for (int n = 0; n < kSize; ++n) {
        sum[k][n] = AsFloat(weight.values[n]) * RoundTo<T>(sum[k][n] * inverse);
      }
      StoreFloats(args_.out + first + i, sum[k]);
    });
  }

 private:
  const AllReduceNormArgs<T>& args_;
  uint4 weight_[kVecs] = {};
};

template <typename T, int kVecs>
__global__ void __launch_bounds__(kMaxSendThreads)
    SendKernel(const __grid_constant__ AllReduceNormArgs<T> args) {
  LetNextKernelStart();
  const HeldRows<T, kVecs> rows(args);
  WaitForInputs();
  const RowGroup& group = args.group;
  const int64_t row = blockIdx.x;
  const int64_t first = row * args.hidden_size;
  uint32_t& calls = SignalsOf(group.regions, group.rank).sends[row];
  const SentRow<T> sent = {group, args.hidden_size, row, calls + 1};
  Vec<T> own[kVecs];
  typename HeldRows<T, kVecs>::Values values = {};
  rows.ForVecs([&](int k, int64_t i) {
    own[k] = LoadVec(X(args, group.rank) + first + i);
    sent.Send(i, own[k]);
    if (args.adds_residual) LoadFloats(args.residual + first + i, values[k]);
  });
  rows.ForVecs([&](int k, int64_t i) {
    float sum[rows.kSize];
    sent.Sum(i, own[k], sum);
#pragma unroll
    for (int n = 0; n < rows.kSize; ++n) values[k][n] += sum[n];
  });
  // Its barriers are also between the counter's readers and its writer.
  rows.Finish(row, values);
  if (threadIdx.x == 0) calls = sent.call;
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

// What the ranks have of a row is on its way at once, two ranks' at a time.
template <typename T, int kVecs>
__global__ void __launch_bounds__(kReadThreads, kMaxBlocksPerMultiprocessor)
    ReadKernel(const __grid_constant__ AllReduceNormArgs<T> args) {
  constexpr int kInFlight = 2;
  LetNextKernelStart();
  const HeldRows<T, kVecs> rows(args);
  constexpr int kSize = rows.kSize;
  WaitForInputs();
  if (!args.is_here) MeetRanks(args);
  for (int64_t row = blockIdx.x; row < args.num_tokens; row += gridDim.x) {
    const int64_t first = row * args.hidden_size;
    uint4 residual[kVecs] = {};
    if (args.adds_residual) {
      rows.ForVecs([&](int k, int64_t i) {
        residual[k] = LoadWords(args.residual + first + i);
      });
    }
    typename HeldRows<T, kVecs>::Values sum = {};
    for (int32_t rank = 0; rank < args.group.world_size; rank += kInFlight) {
      uint4 parts[kInFlight][kVecs] = {};
#pragma unroll
      for (int j = 0; j < kInFlight; ++j) {
        if (rank + j >= args.group.world_size) continue;
        rows.ForVecs([&](int k, int64_t i) {
          parts[j][k] = LoadWords(X(args, rank + j) + first + i);
        });
      }
#pragma unroll
      for (int j = 0; j < kInFlight; ++j) {
#pragma unroll
        for (int k = 0; k < kVecs; ++k) {
          const Vec<T> part = AsVec<T>(parts[j][k]);
#pragma unroll
          for (int n = 0; n < kSize; ++n) sum[k][n] += AsFloat(part.values[n]);
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kVecs; ++k) {
      const Vec<T> old = AsVec<T>(residual[k]);
#pragma unroll
      for (int n = 0; n < kSize; ++n) sum[k][n] += AsFloat(old.values[n]);
    }
    rows.Finish(row, sum);
  }
}

// Rows of any size.
template <typename T>
__global__ void __launch_bounds__(kReadThreads, kMaxBlocksPerMultiprocessor)
    ReadAnyKernel(const __grid_constant__ AllReduceNormArgs<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  const int64_t size = args.hidden_size;
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
  const auto launch = [&](auto* kernel, int64_t threads) {
    Launch(kernel,
           {.grid = dim3(static_cast<uint32_t>(blocks)),
            .block = static_cast<uint32_t>((threads + 31) / 32 * 32)},
           stream, args);
  };
  const int64_t num_vecs = args.hidden_size / Vec<T>::kSize;
  if (args.hidden_size % Vec<T>::kSize != 0 || num_vecs > 2 * kReadThreads) {
    return launch(ReadAnyKernel<T>, kReadThreads);
  }
  if (num_vecs <= kReadThreads) return launch(ReadKernel<T, 1>, num_vecs);
  launch(ReadKernel<T, 2>, (num_vecs + 1) / 2);
}

#define DROVER_INSTANTIATE(T)            \
  template bool CanSendRows<T>(int64_t); \
  template void AllReduceNorm(const AllReduceNormArgs<T>&, CudaStream)
DROVER_INSTANTIATE(float);
DROVER_INSTANTIATE(Float16);
DROVER_INSTANTIATE(BFloat16);
#undef DROVER_INSTANTIATE

}  // namespace drover::kernels::cuda
