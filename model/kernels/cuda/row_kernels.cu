#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "model/kernels/cuda/cuda_kernels.h"
#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/partial_sums.cuh"
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
      StoreVec(to + i, is_here ? LoadVec(from + i) : Vec<T>{});
    }
  });
}

// Residual: null, or x is added to it first.
template <typename T>
__global__ void __launch_bounds__(kRowThreads)
    RmsNormKernel(const T* x, Partials partials, const T* weight, T* residual,
                  T* out, int64_t size, float epsilon) {
  LetNextKernelStart();
  WaitForInputs();
  const int64_t row = blockIdx.x * size;
  const T* normed = residual != nullptr ? residual : x;
  float squares = 0.0f;
  ForBlock<T>(size, [&](int64_t i, auto n) {
    float v[n];
    LoadSums(x, partials, row + i, v);
    if (residual != nullptr) {
      float r[n];
      LoadFloats(residual + row + i, r);
#pragma unroll
      for (int k = 0; k < n; ++k) v[k] = RoundTo<T>(v[k] + r[k]);
      StoreFloats(residual + row + i, v);
    }
#pragma unroll
    for (int k = 0; k < n; ++k) squares += v[k] * v[k];
  });
  const float mean = BlockSum(squares) / static_cast<float>(size);
  const float inverse = 1.0f / sqrtf(mean + epsilon);
  // Each thread reads back what it wrote itself.
  ForBlock<T>(size, [&](int64_t i, auto n) {
    float v[n];
    float w[n];
    LoadFloats(normed + row + i, v);
    LoadFloats(weight + i, w);
#pragma unroll
    for (int k = 0; k < n; ++k) v[k] = w[k] * RoundTo<T>(v[k] * inverse);
    StoreFloats(out + row + i, v);
  });
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
      g[k] = RoundTo<T>(g[k] / (1.0f + expf(-g[k]))) * u[k];
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
  T* const no_residual = nullptr;
  Launch(RmsNormKernel<T>, PerRow(args.num_tokens), stream, args.x, Partials(),
         args.weight, no_residual, args.out, args.hidden_size, args.epsilon);
}

template <typename T>
void AddRmsNorm(const AddRmsNormArgs<T>& args, CudaStream stream) {
  Launch(RmsNormKernel<T>, PerRow(args.num_tokens), stream, args.x, Partials(),
         args.weight, args.residual, args.out, args.hidden_size, args.epsilon);
}

template <typename T>
void JoinRmsNorm(const JoinRmsNormArgs<T>& args, CudaStream stream) {
  const T* const no_x = nullptr;
  const Partials partials = {.data = args.partials,
                             .count = args.num_partials,
                             .stride = args.num_tokens * args.hidden_size};
  Launch(RmsNormKernel<T>, PerRow(args.num_tokens), stream, no_x, partials,
         args.weight, args.residual, args.out, args.hidden_size, args.epsilon);
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
  template void AddRmsNorm(const AddRmsNormArgs<T>&, CudaStream);   \
  template void JoinRmsNorm(const JoinRmsNormArgs<T>&, CudaStream); \
  template void RopeAppend(const RopeAppendArgs<T>&, CudaStream);   \
  template void SiluMul(const SiluMulArgs<T>&, CudaStream);         \
  template void ConvertToFloat(const ToFloatArgs<T>&, CudaStream)
DROVER_INSTANTIATE(float);
DROVER_INSTANTIATE(Float16);
DROVER_INSTANTIATE(BFloat16);
#undef DROVER_INSTANTIATE

}  // namespace drover::kernels::cuda
