#include "model/kernels/cuda/gemv.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mbarrier.cuh"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/cuda/sent_rows.cuh"

// Reading the weights is all the work, so it never pauses: each warp owns a
// ring of buffers in shared memory that bulk copies fill, and the first of them
// are under way before the kernel in front has finished. One thread block on
// each multiprocessor; its shared memory lets no second one in. Rows are dealt
// out over all warps of the grid in turn.

namespace drover::kernels::cuda {
namespace {

constexpr int kWarps = 16;
constexpr int kThreads = 32 * kWarps;
constexpr int kStages = 2;
constexpr int kSegment = 2048;  // elements of a buffer
constexpr int kMaxTokens = 4;
constexpr size_t kRingBytes = size_t{kWarps} * kStages * kSegment * 2;

// One warp's ring over the segments of its rows.
template <typename T>
class WeightRing {
 public:
  __device__ WeightRing(T* buffers, uint64_t* barriers)
      : buffers_(buffers), barriers_(barriers) {}

  // Lane 0 only.
  __device__ void Init() const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    for (int i = 0; i < kStages; ++i) Barrier(barriers_ + i).Init(1);
    PublishBarriers();
#endif
  }

  // Starts the copy of `count` elements into buffer `stage`. Lane 0 only.
  __device__ void Fill(int stage, const T* from, int count) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    const uint32_t bytes = static_cast<uint32_t>(count) * sizeof(T);
    const Barrier barrier(barriers_ + stage);
    barrier.ArriveExpecting(bytes);
    StartBulkCopy(buffers_ + stage * kSegment, from, bytes, barrier,
                  EvictFirst());
#endif
  }

  // Waits for the copy; `phase` flips each time round the ring.
  __device__ const T* Wait(int stage, uint32_t phase) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    Barrier(barriers_ + stage).Wait(phase);
#endif
    return buffers_ + stage * kSegment;
  }

 private:
  T* buffers_;
  uint64_t* barriers_;
};

__device__ __forceinline__ float2 ToFloat2(BFloat16, uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
}
__device__ __forceinline__ float2 ToFloat2(Float16, uint32_t pair) {
  return __half22float2(*reinterpret_cast<const __half2*>(&pair));
}

template <typename T>
__device__ __forceinline__ float Dot8(const uint4& a, const uint4& b,
                                      float sum) {
  const uint32_t* left = reinterpret_cast<const uint32_t*>(&a);
  const uint32_t* right = reinterpret_cast<const uint32_t*>(&b);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 x = ToFloat2(T{}, left[i]);
    const float2 y = ToFloat2(T{}, right[i]);
    sum = fmaf(x.x, y.x, sum);
    sum = fmaf(x.y, y.y, sum);
  }
  return sum;
}

// Brings x into shared memory; returns this thread's part of its squares.
template <typename T>
__device__ float LoadRow(const GemvArgs<T>& args, T* shared) {
  float squares = 0.0f;
  ForBlock<T>(args.in_features, [&](int64_t i, auto n) {
    float x[n];
    LoadFloats(args.x + i, x);
#pragma unroll
    for (int k = 0; k < n; ++k) squares += x[k] * x[k];
    StoreFloats(shared + i, x);
  });
  return squares;
}

// The same for the residual stream with the sum of all ranks' x. Each block
// sends some of this rank's, and receives all.
template <typename T>
__device__ float AllReduceRow(const GemvArgs<T>& args, T* shared) {
  constexpr int kSize = Vec<T>::kSize;
  const SentRow<T> sent = {
      args.ranks, args.in_features, 0,
      SignalsOf(args.ranks.regions, args.ranks.rank).sends[0]};
  for (int64_t vec = blockIdx.x + int64_t{threadIdx.x} * gridDim.x;
       vec < args.in_features / kSize; vec += int64_t{kThreads} * gridDim.x) {
    sent.Send(vec * kSize, LoadVec(args.x + vec * kSize));
  }
  float squares = 0.0f;
  ForBlock<T>(args.in_features, [&](int64_t i, auto n) {
    if constexpr (n == kSize) {
      const Vec<T> own = LoadVec(args.x + i);
      float residual[n];
      float sum[n];
      LoadFloats(args.residual_in + i, residual);
      sent.Sum(i, own, sum);
#pragma unroll
      for (int k = 0; k < n; ++k) {
        sum[k] = RoundTo<T>(residual[k] + sum[k]);
        squares += sum[k] * sum[k];
      }
      StoreFloats(shared + i, sum);
      if (blockIdx.x == 0) StoreFloats(args.residual_sum + i, sum);
    }
  });
  return squares;
}

// Brings x into shared memory, [num_tokens, in_features], transformed.
template <typename T>
__device__ void PrepareInput(const GemvArgs<T>& args, T* shared) {
  const int32_t size = args.in_features;
  if (args.input == GemvInput::kNone) {
    ForBlock<T>(int64_t{args.num_tokens} * size, [&](int64_t i, auto n) {
      if constexpr (n > 1) StoreVec(shared + i, LoadVec(args.x + i));
    });
  } else if (args.input == GemvInput::kSiluMul) {
    ForBlock<T>(size, [&](int64_t i, auto n) {
      float gate[n];
      float up[n];
      LoadFloats(args.x + i, gate);
      LoadFloats(args.x + size + i, up);
#pragma unroll
      for (int k = 0; k < n; ++k) {
        gate[k] = RoundTo<T>(gate[k] / (1.0f + __expf(-gate[k]))) * up[k];
      }
      StoreFloats(shared + i, gate);
    });
  } else {
    const float squares = args.input == GemvInput::kRmsNorm
                              ? LoadRow(args, shared)
                              : AllReduceRow(args, shared);
    const float inverse =
        rsqrtf(BlockSum(squares) / static_cast<float>(size) + args.epsilon);
    ForBlock<T>(size, [&](int64_t i, auto n) {
      float x[n];
      float w[n];
      LoadFloats(shared + i, x);
      LoadFloats(args.norm_weight + i, w);
#pragma unroll
      for (int k = 0; k < n; ++k) x[k] = w[k] * RoundTo<T>(x[k] * inverse);
      StoreFloats(shared + i, x);
    });
  }
  __syncthreads();
}

template <typename T>
__device__ void StoreOutput(const GemvArgs<T>& args, int32_t token, int32_t row,
                            float sum) {
  if (args.bias != nullptr) sum += AsFloat(args.bias[row]);
  const int64_t index = int64_t{token} * args.out_features + row;
  if (args.out_float != nullptr) {
    args.out_float[index] = sum;
    return;
  }
  if (args.residual != nullptr) {
    sum = RoundTo<T>(sum) + AsFloat(args.residual[index]);
  }
  args.out[index] = FromFloat<T>(sum);
}

template <typename T, int kTokens>
__global__ void __launch_bounds__(kThreads, 1)
    GemvKernel(const __grid_constant__ GemvArgs<T> args) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ __align__(8) uint64_t barriers[kWarps * kStages];
  T* const rings = reinterpret_cast<T*>(memory);
  T* const x = reinterpret_cast<T*>(memory + kRingBytes);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  LetNextKernelStart();

  const int32_t size = args.in_features;
  const int32_t num_segments = (size + kSegment - 1) / kSegment;
  const int32_t first_row = static_cast<int32_t>(blockIdx.x) * kWarps + warp;
  const int32_t row_step = static_cast<int32_t>(gridDim.x) * kWarps;
  const int32_t num_rows =
      first_row < args.out_features
          ? (args.out_features - first_row + row_step - 1) / row_step
          : 0;
  const int32_t total = num_rows * num_segments;
  const WeightRing<T> ring(rings + warp * kStages * kSegment,
                           barriers + warp * kStages);
  const auto fill = [&](int32_t i, int stage) {
    const int32_t row = first_row + i / num_segments * row_step;
    const int32_t begin = i % num_segments * kSegment;
    ring.Fill(stage, args.weight + int64_t{row} * size + begin,
              min(kSegment, size - begin));
  };
  if (lane == 0) {
    ring.Init();
    for (int i = 0; i < kStages && i < total; ++i) fill(i, i);
  }
  __syncwarp();
  WaitForInputs();
  if (args.begins_all_reduce && blockIdx.x == 0 && threadIdx.x == 0) {
    ++SignalsOf(args.ranks.regions, args.ranks.rank).sends[0];
  }
  PrepareInput(args, x);

  float sums[kTokens] = {};
  int stage = 0;
  uint32_t phase = 0;
  int32_t row = first_row;
  int32_t segment = 0;
  for (int32_t i = 0; i < total; ++i) {
    const int32_t begin = segment * kSegment;
    const int32_t chunks = min(kSegment, size - begin) / 256;
    const uint4* w =
        reinterpret_cast<const uint4*>(ring.Wait(stage, phase)) + lane;
    const uint4* in = reinterpret_cast<const uint4*>(x + begin) + lane;
#pragma unroll 8
    for (int32_t chunk = 0; chunk < chunks; ++chunk) {
      const uint4 weights = w[chunk * 32];
#pragma unroll
      for (int token = 0; token < kTokens; ++token) {
        sums[token] =
            Dot8<T>(weights, in[chunk * 32 + token * (size / 8)], sums[token]);
      }
    }
    __syncwarp();
    if (lane == 0 && i + kStages < total) fill(i + kStages, stage);
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
    if (++segment < num_segments) continue;
#pragma unroll
    for (int token = 0; token < kTokens; ++token) {
      const float sum = WarpReduce(sums[token], Plus<float>());
      if (lane == 0 && token < args.num_tokens) {
        StoreOutput(args, token, row, sum);
      }
      sums[token] = 0.0f;
    }
    segment = 0;
    row += row_step;
  }
}

template <typename T>
size_t SharedBytes(const GemvArgs<T>& args) {
  const int tokens = args.num_tokens == 3 ? 4 : args.num_tokens;
  return kRingBytes + size_t{2} * static_cast<size_t>(tokens) *
                          static_cast<size_t>(args.in_features);
}

template <typename T, int kTokens>
void LaunchGemv(const GemvArgs<T>& args, CudaStream stream) {
  static thread_local const bool allowed = [] {
    AllowSharedMemory(
        GemvKernel<T, kTokens>,
        static_cast<size_t>(CurrentDevice().max_shared_bytes) - 1024);
    return true;
  }();
  static_cast<void>(allowed);
  Launch(
      GemvKernel<T, kTokens>,
      {.grid = dim3(static_cast<uint32_t>(CurrentDevice().num_multiprocessors)),
       .block = kThreads,
       .shared_bytes = SharedBytes(args)},
      stream, args);
}

}  // namespace

template <typename T>
bool GemvSupported(const GemvArgs<T>& args) {
  if constexpr (sizeof(T) != 2) {
    return false;
  } else {
    const DeviceLimits& device = CurrentDevice();
    return device.major == 9 && args.in_features % 256 == 0 &&
           args.num_tokens >= 1 && args.num_tokens <= kMaxTokens &&
           (args.num_tokens == 1 || args.input == GemvInput::kNone) &&
           SharedBytes(args) + 1024 <=
               static_cast<size_t>(device.max_shared_bytes);
  }
}

template <typename T>
void Gemv(const GemvArgs<T>& args, CudaStream stream) {
  if constexpr (sizeof(T) == 2) {
    if (args.num_tokens == 1) return LaunchGemv<T, 1>(args, stream);
    if (args.num_tokens == 2) return LaunchGemv<T, 2>(args, stream);
    LaunchGemv<T, kMaxTokens>(args, stream);
  }
}

template bool GemvSupported(const GemvArgs<float>&);
template bool GemvSupported(const GemvArgs<Float16>&);
template bool GemvSupported(const GemvArgs<BFloat16>&);
template void Gemv(const GemvArgs<float>&, CudaStream);
template void Gemv(const GemvArgs<Float16>&, CudaStream);
template void Gemv(const GemvArgs<BFloat16>&, CudaStream);

}  // namespace drover::kernels::cuda
