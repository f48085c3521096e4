#include "model/kernels/cuda/gemv.h"

#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/gemv_input.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mbarrier.cuh"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/cuda/sent_rows.cuh"

// Reading the weights is all the work, so it never pauses: each warp owns a
// ring of buffers in shared memory that bulk copies fill, and the first of them
// are under way before the kernel in front has finished. One thread block on
// each multiprocessor; its shared memory lets no second one in. Rows are dealt
// out over all warps of the grid in turn, a block's side by side.

namespace drover::kernels::cuda {
namespace {

constexpr int kWarps = kGemvThreads / 32;
constexpr int kThreads = kGemvThreads;
constexpr int kStages = 2;
constexpr int kSegment = 2048;  // elements of a buffer
constexpr int kMaxTokens = 4;
constexpr size_t kRingBytes = size_t{kWarps} * kStages * kSegment * 2;

// One warp's rows, in segments, and its ring of buffers for them.
template <typename T>
class WeightRing {
 public:
  __device__ WeightRing(const GemvArgs<T>& args, T* rings, uint64_t* barriers)
      : weight_(args.weight),
        size_(args.in_features),
        num_segments_((size_ + kSegment - 1) / kSegment),
        first_row_(static_cast<int32_t>(blockIdx.x) * kWarps + Warp()),
        row_step_(static_cast<int32_t>(gridDim.x) * kWarps),
        has_rows_(first_row_ < args.out_features),
        buffers_(rings + Warp() * kStages * kSegment),
        barriers_(barriers + Warp() * kStages) {}

  // Segments, counted over all rows.
  __device__ int32_t total() const { return total_; }
  __device__ int32_t num_segments() const { return num_segments_; }  // a row's
  __device__ int32_t Row(int32_t i) const {
    return first_row_ + i / num_segments_ * row_step_;
  }
  // Of the row.
  __device__ int32_t Begin(int32_t i) const {
    return i % num_segments_ * kSegment;
  }
  __device__ int32_t Length(int32_t i) const {
    return min(kSegment, size_ - Begin(i));
  }

  // Lane 0 only.
  __device__ void Init() const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    for (int i = 0; i < kStages; ++i) Barrier(barriers_ + i).Init(1);
    PublishBarriers();
#endif
  }

  // Starts the copy of the first segment, if there is one. Lane 0 only.
  __device__ void FillFirst() const {
    if (has_rows_) Start(0);
  }
  // Then total() is known: the first copy does not wait for a division.
  __device__ void Count(int32_t out_features) {
    if (!has_rows_) return;
    total_ = num_segments_ *
             ((out_features - first_row_ + row_step_ - 1) / row_step_);
  }
  // Of segment i. Lane 0 only.
  __device__ void Fill(int32_t i) const {
    if (i < total_) Start(i);
  }

  // After FillFirst, the others that there is room for. Lane 0 only.
  __device__ void FillRest() const {
    for (int32_t i = 1; i < kStages; ++i) Fill(i);
  }
  // Each when the one before is there. Lane 0 only.
  __device__ void FillRestInTurn() const {
    for (int32_t i = 1; i < kStages && i < total_; ++i) {
      Wait(i - 1);
      Start(i);
    }
  }

  // Segment i, once it is there.
  __device__ const T* Wait(int32_t i) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    Barrier(barriers_ + i % kStages).Wait(i / kStages % 2);
#endif
    return buffers_ + i % kStages * kSegment;
  }

 private:
  __device__ void Start(int32_t i) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    const uint32_t bytes = static_cast<uint32_t>(Length(i)) * sizeof(T);
    const Barrier barrier(barriers_ + i % kStages);
    barrier.ArriveExpecting(bytes);
    StartBulkCopy(buffers_ + i % kStages * kSegment,
                  weight_ + int64_t{Row(i)} * size_ + Begin(i), bytes, barrier,
                  EvictFirst());
#endif
  }

  __device__ static int32_t Warp() {
    return static_cast<int32_t>(threadIdx.x / 32);
  }

  const T* const weight_;
  const int32_t size_;
  const int32_t num_segments_;
  const int32_t first_row_;
  const int32_t row_step_;
  const bool has_rows_;
  T* const buffers_;
  uint64_t* const barriers_;
  int32_t total_ = 0;
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

// This warp's rows times the tokens of x, [num_tokens, in_features] in shared
// memory. The first segments are on their way.
template <typename T, int kTokens>
__device__ void Multiply(const GemvArgs<T>& args, const WeightRing<T>& ring,
                         const T* x) {
  const int lane = threadIdx.x % 32;
  float sums[kTokens] = {};
  int32_t segment = 0;
  for (int32_t i = 0; i < ring.total(); ++i) {
    const int32_t begin = segment * kSegment;
    const int32_t chunks = min(kSegment, args.in_features - begin) / 256;
    const uint4* w = reinterpret_cast<const uint4*>(ring.Wait(i)) + lane;
    const uint4* in = reinterpret_cast<const uint4*>(x + begin) + lane;
#pragma unroll 8
    for (int32_t chunk = 0; chunk < chunks; ++chunk) {
      const uint4 weights = w[chunk * 32];
#pragma unroll
      for (int token = 0; token < kTokens; ++token) {
        sums[token] =
            Dot8<T>(weights, in[chunk * 32 + token * (args.in_features / 8)],
                    sums[token]);
      }
    }
    __syncwarp();
    if (lane == 0) ring.Fill(i + kStages);
    if (++segment < ring.num_segments()) continue;
    segment = 0;
#pragma unroll
    for (int token = 0; token < kTokens; ++token) {
      const float sum = WarpReduce(sums[token], Plus<float>());
      if (lane == 0 && token < args.num_tokens) {
        StoreOutput(args, token, ring.Row(i), sum);
      }
      sums[token] = 0.0f;
    }
  }
}

// How the ring is filled before its first segment is read. A multiprocessor's
// loads are answered in turn: what x is made of must not be behind all of it.
template <GemvInput kInput>
struct FillOrder {
  // An x that is read as it is mostly comes late, from attention, whose loads
  // the ring must not hold up: segments before it, one after the other.
  static constexpr bool kAllAhead = kInput == GemvInput::kNone;
  // What other ranks send is looked for over and over: the rest when all is
  // there. Else when x is asked for.
  static constexpr bool kRestLate = kInput == GemvInput::kAllReduceNorm;
};

template <typename T, int kTokens, GemvInput kInput>
__global__ void __launch_bounds__(kThreads, 1)
    GemvKernel(const __grid_constant__ GemvArgs<T> args) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ __align__(8) uint64_t barriers[kWarps * kStages];
  using Order = FillOrder<kInput>;
  LetNextKernelStart();
  WeightRing<T> ring(args, reinterpret_cast<T*>(memory), barriers);
  const bool fills = threadIdx.x % 32 == 0;
  // Before loads are under way, for which its fence would wait.
  if (fills) ring.Init();
  InputRow<T, kInput> input(args);
  if (fills) ring.FillFirst();
  ring.Count(args.out_features);
  if (fills && Order::kAllAhead) ring.FillRestInTurn();
  __syncwarp();
  WaitForInputs();
  if (args.begins_all_reduce && blockIdx.x == 0 && threadIdx.x == 0) {
    ++SignalsOf(args.ranks.regions, args.ranks.rank).sends[0];
  }
  input.Fetch();
  if (fills && !Order::kAllAhead && !Order::kRestLate) ring.FillRest();
  T* const x = reinterpret_cast<T*>(memory + kRingBytes);
  input.Store(x);
  if (fills && Order::kRestLate) ring.FillRest();
  Multiply<T, kTokens>(args, ring, x);
}

template <typename T>
size_t SharedBytes(const GemvArgs<T>& args) {
  const int tokens = args.num_tokens == 3 ? 4 : args.num_tokens;
  return kRingBytes + size_t{2} * static_cast<size_t>(tokens) *
                          static_cast<size_t>(args.in_features);
}

template <typename T, int kTokens, GemvInput kInput = GemvInput::kNone>
void LaunchGemv(const GemvArgs<T>& args, CudaStream stream) {
  static thread_local const bool allowed = [] {
    AllowSharedMemory(
        GemvKernel<T, kTokens, kInput>,
        static_cast<size_t>(CurrentDevice().max_shared_bytes) - 1024);
    return true;
  }();
  static_cast<void>(allowed);
  Launch(
      GemvKernel<T, kTokens, kInput>,
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
    switch (args.input) {
      case GemvInput::kRmsNorm:
        return LaunchGemv<T, 1, GemvInput::kRmsNorm>(args, stream);
      case GemvInput::kSiluMul:
        return LaunchGemv<T, 1, GemvInput::kSiluMul>(args, stream);
      case GemvInput::kAllReduceNorm:
        return LaunchGemv<T, 1, GemvInput::kAllReduceNorm>(args, stream);
      case GemvInput::kNone:
        break;
    }
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
