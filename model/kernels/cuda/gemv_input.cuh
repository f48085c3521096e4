#pragma once

#include <cstdint>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/gemv.h"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/cuda/sent_rows.cuh"

// The row that a matrix-vector product multiplies, made of its x by each thread
// block anew. It is on the way from one kernel to the next, so it is asked for
// in three steps, the loads of each before anything is done with them: a
// multiprocessor's loads are answered in turn, and weights are in the queue.

namespace drover::kernels::cuda {

constexpr int kGemvThreads = 512;

// A row of which each thread holds kHeld vectors, those of all threads in turn.
template <typename T, int kHeld>
struct HeldRow {
  static constexpr int kStep = kGemvThreads * Vec<T>::kSize;
  const T* row = nullptr;
  uint4 held[kHeld] = {};

  __device__ static int32_t First() {
    return static_cast<int32_t>(threadIdx.x) * Vec<T>::kSize;
  }
  __device__ void Fetch(int32_t size) {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int32_t i = First() + k * kStep;
      if (i < size) held[k] = LoadWords(row + i);
    }
  }
};

// Calls function(i, vector of each row) for this thread's vectors; those that
// are not held come from memory.
template <typename T, int kHeld, typename Function, typename... Rows>
__device__ __forceinline__ void ForRows(int32_t size, Function function,
                                        const HeldRow<T, kHeld>& first,
                                        const Rows&... others) {
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int32_t i = first.First() + k * first.kStep;
    if (i < size) {
      function(i, AsVec<T>(first.held[k]), AsVec<T>(others.held[k])...);
    }
  }
  for (int32_t i = first.First() + kHeld * first.kStep; i < size;
       i += first.kStep) {
    function(i, LoadVec(first.row + i), LoadVec(others.row + i)...);
  }
}

template <typename T>
__device__ __forceinline__ float SumOfSquares(const Vec<T>& vec) {
  float sum = 0.0f;
#pragma unroll
  for (int n = 0; n < Vec<T>::kSize; ++n) {
    sum += AsFloat(vec.values[n]) * AsFloat(vec.values[n]);
  }
  return sum;
}

// x / rms(x) * weight, given all threads' parts of the sum of squares. All
// threads of the block call it.
template <typename T>
class Normalizer {
 public:
  __device__ Normalizer(const GemvArgs<T>& args, float squares)
      : inverse_(
            rsqrtf(BlockSum(squares) / static_cast<float>(args.in_features) +
                   args.epsilon)) {}

  __device__ Vec<T> operator()(const Vec<T>& x, const Vec<T>& weight) const {
    Vec<T> out;
#pragma unroll
    for (int n = 0; n < Vec<T>::kSize; ++n) {
      out.values[n] = FromFloat<T>(AsFloat(weight.values[n]) *
                                   RoundTo<T>(AsFloat(x.values[n]) * inverse_));
    }
    return out;
  }

 private:
  const float inverse_;
};

// The steps: the constructor asks for what is settled before the kernel in
// front is complete, Fetch for x once it is, and Store brings the row into
// shared memory.
template <typename T, GemvInput kInput>
class InputRow;

// x as it is, [num_tokens, in_features].
template <typename T>
class InputRow<T, GemvInput::kNone> {
 public:
  __device__ explicit InputRow(const GemvArgs<T>& args) : args_(args) {}
  __device__ void Fetch() {}
  __device__ void Store(T* shared) {
    constexpr int kSize = Vec<T>::kSize;
    const int32_t size = args_.num_tokens * args_.in_features;
    for (int32_t i = static_cast<int32_t>(threadIdx.x) * kSize; i < size;
         i += kGemvThreads * kSize) {
      StoreVec(shared + i, LoadVec(args_.x + i));
    }
    __syncthreads();
  }

 private:
  const GemvArgs<T>& args_;
};

template <typename T>
class InputRow<T, GemvInput::kRmsNorm> {
 public:
  __device__ explicit InputRow(const GemvArgs<T>& args)
      : args_(args), x_{args.x}, weight_{args.norm_weight} {
    weight_.Fetch(args.in_features);
  }
  __device__ void Fetch() { x_.Fetch(args_.in_features); }
  __device__ void Store(T* shared) {
    float squares = 0.0f;
    ForRows(
        args_.in_features,
        [&](int32_t, const Vec<T>& x) { squares += SumOfSquares(x); }, x_);
    const Normalizer<T> normalize(args_, squares);
    ForRows(
        args_.in_features,
        [&](int32_t i, const Vec<T>& x, const Vec<T>& weight) {
          StoreVec(shared + i, normalize(x, weight));
        },
        x_, weight_);
    __syncthreads();
  }

 private:
  const GemvArgs<T>& args_;
  HeldRow<T, 2> x_;
  HeldRow<T, 2> weight_;
};

template <typename T>
class InputRow<T, GemvInput::kSiluMul> {
 public:
  __device__ explicit InputRow(const GemvArgs<T>& args)
      : args_(args), gate_{args.x}, up_{args.x + args.in_features} {}
  __device__ void Fetch() {
    gate_.Fetch(args_.in_features);
    up_.Fetch(args_.in_features);
  }
  __device__ void Store(T* shared) {
    ForRows(
        args_.in_features,
        [&](int32_t i, const Vec<T>& gate, const Vec<T>& up) {
          Vec<T> out;
#pragma unroll
          for (int n = 0; n < Vec<T>::kSize; ++n) {
            const float x = AsFloat(gate.values[n]);
            out.values[n] = FromFloat<T>(Silu<T>(x) * AsFloat(up.values[n]));
          }
          StoreVec(shared + i, out);
        },
        gate_, up_);
    __syncthreads();
  }

 private:
  const GemvArgs<T>& args_;
  HeldRow<T, 4> gate_;
  HeldRow<T, 4> up_;
};

// Of the residual stream with the sum of all ranks' x: each block sends some of
// this rank's, and receives all.
template <typename T>
class InputRow<T, GemvInput::kAllReduceNorm> {
 public:
  __device__ explicit InputRow(const GemvArgs<T>& args)
      : args_(args),
        own_{args.x},
        residual_{args.residual_in},
        weight_{args.norm_weight} {
    weight_.Fetch(args.in_features);
  }

  __device__ void Fetch() {
    constexpr int kSize = Vec<T>::kSize;
    const SentRow<T> sent = Sent();
    for (int64_t vec = blockIdx.x + int64_t{threadIdx.x} * gridDim.x;
         vec < args_.in_features / kSize;
         vec += int64_t{kGemvThreads} * gridDim.x) {
      sent.Send(vec * kSize, LoadVec(args_.x + vec * kSize));
    }
    own_.Fetch(args_.in_features);
    residual_.Fetch(args_.in_features);
  }

  __device__ void Store(T* shared) {
    const SentRow<T> sent = Sent();
    float squares = 0.0f;
    ForRows(
        args_.in_features,
        [&](int32_t i, const Vec<T>& own, const Vec<T>& residual) {
          float sum[Vec<T>::kSize];
          sent.Sum(i, own, sum);
          Vec<T> out;
#pragma unroll
          for (int n = 0; n < Vec<T>::kSize; ++n) {
            out.values[n] = FromFloat<T>(AsFloat(residual.values[n]) + sum[n]);
          }
          squares += SumOfSquares(out);
          StoreVec(shared + i, out);
          if (blockIdx.x == 0) StoreGlobal(args_.residual_sum + i, out);
        },
        own_, residual_);
    const Normalizer<T> normalize(args_, squares);
    ForRows(
        args_.in_features,
        [&](int32_t i, const Vec<T>& weight) {
          StoreVec(shared + i, normalize(LoadVec(shared + i), weight));
        },
        weight_);
    __syncthreads();
  }

 private:
  __device__ SentRow<T> Sent() const {
    return {args_.ranks, args_.in_features, 0,
            SignalsOf(args_.ranks.regions, args_.ranks.rank).sends[0]};
  }

  const GemvArgs<T>& args_;
  HeldRow<T, 2> own_;
  HeldRow<T, 2> residual_;
  HeldRow<T, 2> weight_;
};

}  // namespace drover::kernels::cuda
