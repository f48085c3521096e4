#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "model/kernels/cuda/cuda_kernels.h"
#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/reduce.cuh"

// The kernels that treat each token by itself: one thread block per token.

namespace drover::kernels::cuda {
namespace {

constexpr uint32_t kRowThreads = 512;

LaunchShape PerRow(int64_t num_rows) {
  return {.grid = dim3(static_cast<uint32_t>(num_rows)), .block = kRowThreads};
}

template <typename T>
__global__ void __launch_bounds__(kRowThreads)
    GatherPartKernel(GatherPartArgs<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  const int64_t row = blockIdx.x;
  const int64_t size = args.gather.row_size;
  const int32_t id = args.gather.ids[row] - args.first_id;
  const bool is_here = id >= 0 && id < args.num_table_rows;
  const T* from = args.gather.table + (is_here ? id : 0) * size;
  T* to = args.gather.out + row * size;
  ForBlock<T>(size, [&](int64_t i, auto n) {
    if constexpr (n == 1) {
      to[i] = is_here ? from[i] : T{};
    } else {
      StoreGlobal(to + i, is_here ? LoadVec(from + i) : Vec<T>{});
    }
  });
}

// Sums that lie in parts.
struct Partials {
  const float* data = nullptr;
  int32_t count = 0;
  int64_t stride = 0;
};

template <int n>
__device__ __forceinline__ void LoadParts(const float* from, float (&to)[n]) {
  if constexpr (n == 1) {
    to[0] = *from;
  } else {
#pragma unroll
    for (int k = 0; k < n; k += 4) {
      *reinterpret_cast<float4*>(to + k) =
          *reinterpret_cast<const float4*>(from + k);
    }
  }
}

// Elements [i, i + n), rounded to T. Up to four parts are on their way at once.
template <typename T, int n>
__device__ void LoadSums(const Partials& partials, int64_t i,
                         float (&sums)[n]) {
  constexpr int kInFlight = 4;
#pragma unroll
  for (int k = 0; k < n; ++k) sums[k] = 0.0f;
  for (int32_t first = 0; first < partials.count; first += kInFlight) {
    const float* const from = partials.data + first * partials.stride + i;
    alignas(16) float parts[kInFlight][n] = {};
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      if (first + j < partials.count) {
        LoadParts(from + j * partials.stride, parts[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
#pragma unroll
      for (int k = 0; k < n; ++k) sums[k] += parts[j][k];
    }
  }
#pragma unroll
  for (int k = 0; k < n; ++k) sums[k] = RoundTo<T>(sums[k]);
}

// Of x or, kJoins, of a residual stream that the sums of partials are added to.
template <typename T>
struct NormedRows {
  const T* x = nullptr;
  Partials partials;
  T* residual = nullptr;
  const T* weight = nullptr;
  T* out = nullptr;
  int64_t size = 0;
  float epsilon = 0.0f;
};

// What is normed: n elements from i on. Returns their squares' sum.
template <bool kJoins, typename T, int n>
__device__ float LoadNormed(const NormedRows<T>& args, int64_t i,
                            float (&v)[n]) {
  if constexpr (kJoins) {
    const Held<T, n> residual = Hold<n>(args.residual + i);
    LoadSums<T>(args.partials, i, v);
    float r[n];
    AsFloats(residual, r);
#pragma unroll
    for (int k = 0; k < n; ++k) v[k] = RoundTo<T>(v[k] + r[k]);
    StoreFloats(args.residual + i, v);
  } else {
    LoadFloats(args.x + i, v);
  }
  float squares = 0.0f;
#pragma unroll
  for (int k = 0; k < n; ++k) squares += v[k] * v[k];
  return squares;
}

template <typename T, int n>
__device__ void StoreNormed(T* out, const T (&weight)[n], float inverse,
                            float (&v)[n]) {
#pragma unroll
  for (int k = 0; k < n; ++k) {
    v[k] = AsFloat(weight[k]) * RoundTo<T>(v[k] * inverse);
  }
  StoreFloats(out, v);
}

// As few as do: of many rows the more are normed at once.
template <int kVecs, bool kJoins>
constexpr int kNormRegisters = kJoins ? (kVecs == 1 ? 56 : 80)
                                      : (kVecs == 1 ? 32 : 48);

// Each thread keeps its kVecs vectors of a row, and has the weight's before the
// row is there.
template <typename T, int kVecs, bool kJoins>
__global__ void __maxnreg__((kNormRegisters<kVecs, kJoins>))
    RmsNormKernel(const NormedRows<T> args) {
  constexpr int kSize = Vec<T>::kSize;
  LetNextKernelStart();
  const auto for_vecs = [&](auto function) {
#pragma unroll
    for (int j = 0; j < kVecs; ++j) {
      const int64_t i = (j * int64_t{blockDim.x} + threadIdx.x) * kSize;
      if (i < args.size) function(j, i);
    }
  };
  Vec<T> weight[kVecs];
  for_vecs([&](int j, int64_t i) { weight[j] = LoadVec(args.weight + i); });
  WaitForInputs();
  const int64_t row = blockIdx.x * args.size;
  float v[kVecs][kSize];
  float squares = 0.0f;
  for_vecs([&](int j, int64_t i) {
    squares += LoadNormed<kJoins>(args, row + i, v[j]);
  });
  const float inverse = InverseRms(squares, args.size, args.epsilon);
  for_vecs([&](int j, int64_t i) {
    StoreNormed(args.out + row + i, weight[j].values, inverse, v[j]);
  });
}

// Rows of any size: each thread reads back what it wrote itself.
template <typename T, bool kJoins>
__global__ void __launch_bounds__(kRowThreads)
    AnyRmsNormKernel(const NormedRows<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  const int64_t row = blockIdx.x * args.size;
  const T* const normed = kJoins ? args.residual : args.x;
  float squares = 0.0f;
  ForBlock<T>(args.size, [&](int64_t i, auto n) {
    float v[n];
    squares += LoadNormed<kJoins>(args, row + i, v);
  });
  const float inverse = InverseRms(squares, args.size, args.epsilon);
  ForBlock<T>(args.size, [&](int64_t i, auto n) {
    float v[n];
    T weight[n];
    LoadFloats(normed + row + i, v);
#pragma unroll
    for (int k = 0; k < n; ++k) weight[k] = args.weight[i + k];
    StoreNormed(args.out + row + i, weight, inverse, v);
  });
}

template <bool kJoins, typename T>
void LaunchNorm(const NormedRows<T>& args, int64_t num_rows,
                CudaStream stream) {
  const auto launch = [&](auto* kernel, int64_t num_threads) {
    Launch(kernel,
           {.grid = dim3(static_cast<uint32_t>(num_rows)),
            .block = static_cast<uint32_t>((num_threads + 31) / 32 * 32)},
           stream, args);
  };
  const int64_t num_vecs = args.size / Vec<T>::kSize;
  if (args.size % Vec<T>::kSize != 0 || num_vecs > 2 * kRowThreads) {
    launch(AnyRmsNormKernel<T, kJoins>, kRowThreads);
  } else if (num_vecs > kRowThreads) {
    launch(RmsNormKernel<T, 2, kJoins>, (num_vecs + 1) / 2);
  } else {
    launch(RmsNormKernel<T, 1, kJoins>, num_vecs);
  }
}

// Sixteen bytes of both halves of a query or key head a thread, then the
// values.
template <typename T>
__global__ void __launch_bounds__(kRowThreads)
    RopeAppendKernel(RopeAppendArgs<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  const int64_t token = blockIdx.x;
  const int32_t dim = args.head_dim;
  const int32_t half = dim / 2;
  T* q = args.qkv + token * (args.num_heads + 2 * args.num_kv_heads) * dim;
  const float* cos = args.cos + int64_t{args.positions[token]} * half;
  const float* sin = args.sin + int64_t{args.positions[token]} * half;
  const int64_t block = args.slots[token] / kKvBlockSize;
  const int64_t in_block = args.slots[token] % kKvBlockSize;
  const auto cache_offset = [&](int32_t kv_head) {
    return ((block * args.num_kv_heads + kv_head) * kKvBlockSize + in_block) *
           dim;
  };
  // The pairs [first, first + n) of a head.
  const auto rotate = [&](int32_t head, int32_t first, auto n) {
    const T* from = q + head * dim + first;
    T* to = head < args.num_heads
                ? q + head * dim + first
                : args.k_cache + cache_offset(head - args.num_heads) + first;
    float a[n];
    float b[n];
    LoadFloats(from, a);
    LoadFloats(from + half, b);
    float low[n];
    float high[n];
#pragma unroll
    for (int i = 0; i < n; ++i) {
      low[i] = a[i] * cos[first + i] - b[i] * sin[first + i];
      high[i] = b[i] * cos[first + i] + a[i] * sin[first + i];
    }
    StoreFloats(to, low);
    StoreFloats(to + half, high);
  };
  const int32_t num_rotated = args.num_heads + args.num_kv_heads;
  const T* v = q + num_rotated * dim;
  const auto for_heads = [&](auto n) {
    const int32_t pieces = half / n;
    for (int32_t i = threadIdx.x; i < num_rotated * pieces; i += blockDim.x) {
      rotate(i / pieces, i % pieces * n, n);
    }
    for (int32_t i = threadIdx.x * n; i < args.num_kv_heads * dim;
         i += blockDim.x * n) {
      float value[n];
      LoadFloats(v + i, value);
      StoreFloats(args.v_cache + cache_offset(i / dim) + i % dim, value);
    }
  };
  constexpr int kSize = Vec<T>::kSize;
  if (half % kSize == 0) {
    for_heads(std::integral_constant<int, kSize>());
  } else {
    for_heads(std::integral_constant<int, 1>());
  }
}

constexpr int32_t kSiluThreads = 256;

// Blocks along x share one token.
template <typename T>
__global__ void __launch_bounds__(kSiluThreads)
    SiluMulKernel(SiluMulArgs<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  constexpr int kSize = Vec<T>::kSize;
  const int64_t size = args.intermediate_size;
  const T* gate = args.gate_up + blockIdx.y * 2 * size;
  const T* up = gate + size;
  T* out = args.out + blockIdx.y * size;
  const auto apply = [&](int64_t i, auto n) {
    float g[n];
    float u[n];
    LoadFloats(gate + i, g);
    LoadFloats(up + i, u);
#pragma unroll
    for (int k = 0; k < n; ++k) {
      g[k] = Silu<T>(g[k]) * u[k];
    }
    StoreFloats(out + i, g);
  };
  const int64_t begin =
      (int64_t{blockIdx.x} * kSiluThreads + threadIdx.x) * kSize;
  if (size % kSize == 0) {
    if (begin < size) apply(begin, std::integral_constant<int, kSize>());
  } else {
    for (int64_t i = begin; i < begin + kSize && i < size; ++i) {
      apply(i, std::integral_constant<int, 1>());
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kSiluThreads)
    ToFloatKernel(ToFloatArgs<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  const int64_t step = int64_t{gridDim.x} * kSiluThreads;
  for (int64_t i = int64_t{blockIdx.x} * kSiluThreads + threadIdx.x;
       i < args.size; i += step) {
    args.out[i] = AsFloat(args.x[i]);
  }
}

}  // namespace

template <typename T>
void GatherPart(const GatherPartArgs<T>& args, CudaStream stream) {
  Launch(GatherPartKernel<T>, PerRow(args.gather.num_rows), stream, args);
}

template <typename T>
void GatherRows(const GatherRowsArgs<T>& args, CudaStream stream) {
  GatherPart<T>(
      {.gather = args, .num_table_rows = std::numeric_limits<int32_t>::max()},
      stream);
}

template <typename T>
void RmsNorm(const RmsNormArgs<T>& args, CudaStream stream) {
  LaunchNorm</*kJoins=*/false, T>({.x = args.x,
                                   .weight = args.weight,
                                   .out = args.out,
                                   .size = args.hidden_size,
                                   .epsilon = args.epsilon},
                                  args.num_tokens, stream);
}

template <typename T>
void JoinRmsNorm(const JoinRmsNormArgs<T>& args, CudaStream stream) {
  LaunchNorm</*kJoins=*/true, T>(
      {.partials = {.data = args.partials,
                    .count = args.num_partials,
                    .stride = args.num_tokens * args.hidden_size},
       .residual = args.residual,
       .weight = args.weight,
       .out = args.out,
       .size = args.hidden_size,
       .epsilon = args.epsilon},
      args.num_tokens, stream);
}

template <typename T>
void RopeAppend(const RopeAppendArgs<T>& args, CudaStream stream) {
  Launch(RopeAppendKernel<T>, PerRow(args.num_tokens), stream, args);
}

template <typename T>
void SiluMul(const SiluMulArgs<T>& args, CudaStream stream) {
  const int64_t per_block = kSiluThreads * Vec<T>::kSize;
  const int64_t blocks = (args.intermediate_size + per_block - 1) / per_block;
  // A grid's y ends at 65535.
  for (int64_t begin = 0; begin < args.num_tokens; begin += 65535) {
    SiluMulArgs<T> part = args;
    part.gate_up += begin * 2 * args.intermediate_size;
    part.out += begin * args.intermediate_size;
    part.num_tokens = std::min<int64_t>(65535, args.num_tokens - begin);
    Launch(SiluMulKernel<T>,
           {.grid = dim3(static_cast<uint32_t>(blocks),
                         static_cast<uint32_t>(part.num_tokens)),
            .block = kSiluThreads},
           stream, part);
  }
}

template <typename T>
void ConvertToFloat(const ToFloatArgs<T>& args, CudaStream stream) {
  const int64_t blocks =
      std::min<int64_t>((args.size + kSiluThreads - 1) / kSiluThreads, 4096);
  Launch(ToFloatKernel<T>,
         {.grid = dim3(static_cast<uint32_t>(blocks)), .block = kSiluThreads},
         stream, args);
}

#define DROVER_INSTANTIATE(T)                                       \
  template void GatherRows(const GatherRowsArgs<T>&, CudaStream);   \
  template void GatherPart(const GatherPartArgs<T>&, CudaStream);   \
  template void RmsNorm(const RmsNormArgs<T>&, CudaStream);         \
  template void JoinRmsNorm(const JoinRmsNormArgs<T>&, CudaStream); \
  template void RopeAppend(const RopeAppendArgs<T>&, CudaStream);   \
  template void SiluMul(const SiluMulArgs<T>&, CudaStream);         \
  template void ConvertToFloat(const ToFloatArgs<T>&, CudaStream)
DROVER_INSTANTIATE(float);
DROVER_INSTANTIATE(Float16);
DROVER_INSTANTIATE(BFloat16);
#undef DROVER_INSTANTIATE

}  // namespace drover::kernels::cuda
