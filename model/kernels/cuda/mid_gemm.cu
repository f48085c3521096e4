#include "model/kernels/cuda/mid_gemm.h"

#include <cuda.h>

#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mbarrier.cuh"
#include "model/kernels/cuda/named_barrier.cuh"
#include "model/kernels/cuda/tensor_map.h"
#include "model/kernels/cuda/weight_units.cuh"
#include "model/kernels/cuda/wgmma.cuh"

// Each thread block has all tokens and some rows of the weight, or part of
// their depth, and a multiprocessor to itself. A warpgroup sums the products of
// 64 tokens with all of the rows: the rows are multiplied as they come, however
// many they are, where tiles of 64 would leave multiprocessors without work.
// One more warp starts the copies into a ring, those of weights even before the
// kernel in front has finished.

namespace drover::kernels::cuda {
namespace {

constexpr int kGroupTokens = 64;
constexpr int kMaxGroups = kMaxMidTokens / kGroupTokens;
constexpr int kMaxStages = 8;
constexpr int32_t kMaxRingBytes = 224 << 10;

// Of a thread block: the more warpgroups, the fewer sums each has room for.
template <int kGroups>
constexpr int kMaxRows = kGroups <= 3 ? 224 : 128;

template <int kGroups, int kRows>
constexpr int32_t kStageBytes = (kRows + kGroups * kGroupTokens) *
                                static_cast<int32_t>(kRowBytes);
template <int kGroups, int kRows>
constexpr int kStages = std::min(kMaxStages,
                                 kMaxRingBytes / kStageBytes<kGroups, kRows>);

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Those of a kernel's threads that sum; the others do with kFewRegisters.
template <int kGroups>
constexpr int kManyRegisters = kGroups <= 2   ? 232
                               : kGroups == 3 ? 152
                                              : 104;
constexpr int kFewRegisters = 40;

// A thread's: of two tokens with some of the rows. Of three warpgroups a
// product may have at most 192 rows, so more are two products.
template <int kGroups, int kRows>
struct Sums {
  static constexpr int kProducts = kGroups <= 2 || kRows <= 192 ? 1 : 2;
  static constexpr int kProductRows = kRows / kProducts;
  static constexpr int kProductUnits = kProductRows / kUnitRows;

  float values[kProducts][kProductRows / 8][4] = {};

  // Of the unit's rows 4 (thread % 4) + i for the first or second token; of a
  // weight [gate; up] rows 2 (thread % 4) + i / 2, the gate's if i is even.
  __device__ __forceinline__ float Get(int unit, int token, int i) const {
    return values[unit / kProductUnits][unit % kProductUnits * 2 + i % 2]
                 [token * 2 + i / 2];
  }
};

// A stage: a chunk of the weight's rows, then of the tokens.
template <int kGroups, int kRows>
class Ring : public StageBarriers {
 public:
  static constexpr uint32_t kWeightBytes = kRows * kRowBytes;

  __device__ Ring(uint32_t memory, const StageBarriers& barriers)
      : StageBarriers(barriers), memory_(memory) {}

  __device__ uint32_t Weight(int stage) const {
    return memory_ + stage * kStageBytes<kGroups, kRows>;
  }
  __device__ uint32_t X(int stage) const {
    return Weight(stage) + kWeightBytes;
  }

 private:
  const uint32_t memory_;
};

// What this thread block does: of a grid of tiles of the rows, by parts of the
// depth.
struct Part {
  int32_t tile = 0;
  int32_t split = 0;
  int32_t first_chunk = 0;  // of the depth
  int32_t num_chunks = 0;
};

template <typename T>
__device__ Part FindPart(const MidGemmArgs<T>& args) {
  const int32_t chunks = args.in_features / kDepth;
  const auto splits = static_cast<int32_t>(gridDim.y);
  Part part;
  part.tile = static_cast<int32_t>(blockIdx.x);
  part.split = static_cast<int32_t>(blockIdx.y);
  part.first_chunk = part.split * chunks / splits;
  part.num_chunks = (part.split + 1) * chunks / splits - part.first_chunk;
  return part;
}

// One thread's walk over all chunks.
template <typename T, int kGroups, int kRows>
__device__ void Produce(const CUtensorMap& weight_map, const CUtensorMap& x_map,
                        const MidGemmArgs<T>& args, const Part& part,
                        const Ring<kGroups, kRows>& ring) {
  const uint64_t policy = EvictFirst();
  const uint32_t bytes =
      ring.kWeightBytes + RowsOfX(args.num_tokens) * kRowBytes;
  const auto start_weight = [&](int stage, int32_t chunk) {
    ring.full(stage).ArriveExpecting(bytes);
    StartBoxCopy(ring.Weight(stage), weight_map, ring.full(stage), policy,
                 part.tile * (kRows / kUnitRows), part.first_chunk + chunk);
  };
  const auto start_x = [&](int stage, int32_t chunk) {
    StartBoxCopy(ring.X(stage), x_map, ring.full(stage),
                 part.first_chunk + chunk);
  };
  const int32_t ahead = min(ring.num_stages(), part.num_chunks);
  for (int32_t i = 0; i < ahead; ++i) start_weight(i, i);
  WaitForInputs();
  for (int32_t i = 0; i < ahead; ++i) start_x(i, i);
  Place place;
  for (int32_t i = ahead; i < part.num_chunks; ++i) {
    ring.empty(place.stage).Wait(place.phase);
    start_weight(place.stage, i);
    start_x(place.stage, i);
    place.Next(ring.num_stages());
  }
}

// A stage is given back when the next one's products are under way.
template <typename T, int kGroups, int kRows>
__device__ void Sum(const Part& part, const Ring<kGroups, kRows>& ring,
                    Sums<kGroups, kRows>& sums) {
  constexpr int kProducts = sums.kProducts;
  constexpr uint32_t kNextRows = sums.kProductRows * kRowBytes >> 4;
  const int group = __shfl_sync(0xffffffff, threadIdx.x / 128, 0);
  const bool releases = threadIdx.x % 32 == 0;
  Place place;
  int last = 0;
  for (int32_t chunk = 0; chunk < part.num_chunks; ++chunk) {
    ring.full(place.stage).Wait(place.phase);
    const uint64_t a =
        SwizzledFactor(ring.X(place.stage) + group * kGroupTokens * kRowBytes);
    const uint64_t b = SwizzledFactor(ring.Weight(place.stage));
    BeginProducts();
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
#pragma unroll
      for (int i = 0; i < kProducts; ++i) {
        Multiply(T{}, a + 2 * k, b + 2 * k + i * kNextRows, chunk + k > 0,
                 sums.values[i]);
      }
    }
    EndProducts();
    AwaitProducts<1>();
    if (chunk > 0 && releases) ring.empty(last).Arrive();
    last = place.stage;
    place.Next(ring.num_stages());
  }
  AwaitProducts<0>();
#pragma unroll
  for (int i = 0; i < kProducts; ++i) HoldSums(sums.values[i]);
}

template <typename T, int kGroups, int kRows>
__device__ void StorePartials(const MidGemmArgs<T>& args, const Part& part,
                              const Sums<kGroups, kRows>& sums) {
  const int32_t row = part.tile * kRows + threadIdx.x % 4 * 4;
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    const int32_t token = threadIdx.x / 32 * 16 + t * 8 + threadIdx.x % 32 / 4;
    if (token >= args.num_tokens) continue;
    float* const out =
        args.partials +
        (int64_t{part.split} * args.num_tokens + token) * args.out_features +
        row;
#pragma unroll
    for (int u = 0; u < kRows / kUnitRows; ++u) {
      if (row + u * kUnitRows >= args.out_features) break;
      StoreGlobal(out + u * kUnitRows,
                  Vec<float>{{sums.Get(u, t, 0), sums.Get(u, t, 1),
                              sums.Get(u, t, 2), sums.Get(u, t, 3)}});
    }
  }
}

// staging: the ring, when all have come here.
template <typename T, int kGroups, int kRows>
__device__ void StoreActivated(const MidGemmArgs<T>& args, const Part& part,
                               unsigned char* staging,
                               const Sums<kGroups, kRows>& sums) {
  constexpr int kUnits = kRows / kUnitRows;
  // The room between tokens keeps threads off each other's banks.
  constexpr int kStride = 8 * kUnits + (kUnits % 2 == 0 ? 8 : 16);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  T* const staged = reinterpret_cast<T*>(staging) + warp * 16 * kStride;
  NamedSync(1, 128 * kGroups);
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    T* const to = staged + (t * 8 + lane / 4) * kStride + lane % 4 * 2;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const T first = SiluMul<T>(sums.Get(u, t, 0), sums.Get(u, t, 1));
      const T second = SiluMul<T>(sums.Get(u, t, 2), sums.Get(u, t, 3));
      *reinterpret_cast<uint32_t*>(to + 8 * u) =
          uint32_t{second.bits} << 16 | first.bits;
    }
  }
  __syncwarp();
  const int32_t size = args.out_features / 2;
  for (int i = lane; i < 16 * kUnits; i += 32) {
    const int32_t token = warp * 16 + i / kUnits;
    const int32_t column = part.tile * (kRows / 2) + i % kUnits * 8;
    if (token >= args.num_tokens || column >= size) continue;
    StoreGlobal(args.activated + int64_t{token} * size + column,
                LoadVec(staged + i / kUnits * kStride + i % kUnits * 8));
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename T, int kGroups, int kRows>
__global__ void __launch_bounds__(128 * (kGroups + 1), 1)
    MidGemmKernel(const __grid_constant__ CUtensorMap weight_map,
                  const __grid_constant__ CUtensorMap x_map,
                  const __grid_constant__ MidGemmArgs<T> args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char memory[];
  __shared__ __align__(8) uint64_t full[kMaxStages];
  __shared__ __align__(8) uint64_t empty[kMaxStages];
  LetNextKernelStart();
  unsigned char* const aligned =
      memory + (1024 - SharedAddress(memory) % 1024) % 1024;
  const Ring<kGroups, kRows> ring(
      SharedAddress(aligned),
      StageBarriers(full, empty, kStages<kGroups, kRows>));
  const Part part = FindPart(args);
  if (threadIdx.x == 128 * kGroups) ring.Init(4 * kGroups);
  __syncthreads();
  if (threadIdx.x >= 128 * kGroups) {
    GiveBackRegisters<kFewRegisters>();
    if (threadIdx.x == 128 * kGroups) {
      Produce(weight_map, x_map, args, part, ring);
    }
    return;
  }
  TakeRegisters<kManyRegisters<kGroups>>();
  Sums<kGroups, kRows> sums;
  WaitForInputs();
  Sum<T>(part, ring, sums);
  if (args.activated != nullptr) {
    StoreActivated(args, part, aligned, sums);
  } else {
    StorePartials(args, part, sums);
  }
#else
  __trap();  // built for a Hopper without its own instructions
#endif
}

// ---- The host's side ----

template <typename T, int kGroups, int kRows>
void LaunchMid(const MidGemmArgs<T>& args, CudaStream stream) {
  static thread_local const bool allowed = [] {
    AllowSharedMemory(MidGemmKernel<T, kGroups, kRows>, kMaxRingBytes + 1024);
    return true;
  }();
  static_cast<void>(allowed);
  const bool is_silu = args.activated != nullptr;
  const int32_t tiles = (args.out_features + kRows - 1) / kRows;
  Launch(MidGemmKernel<T, kGroups, kRows>,
         {.grid = dim3(static_cast<uint32_t>(tiles),
                       static_cast<uint32_t>(is_silu ? 1 : args.num_partials)),
          .block = 128 * (kGroups + 1),
          .shared_bytes =
              kStages<kGroups, kRows> * kStageBytes<kGroups, kRows> + 1024},
         stream,
         WeightMap(args.weight, args.out_features, args.in_features, is_silu,
                   /*units=*/kRows / kUnitRows, /*chunks=*/1),
         XMap(args.x, args.num_tokens, args.in_features, /*chunks=*/1), args);
}

// A thread block's rows: as few as let all blocks of a split run at once, or
// where those would be too many in rounds that are even.
int32_t RowsOfBlock(int32_t out_features, int32_t num_splits,
                    int32_t max_rows) {
  const int32_t blocks =
      std::max(1, CurrentDevice().num_multiprocessors / num_splits);
  const int32_t rounds =
      (out_features + blocks * max_rows - 1) / (blocks * max_rows);
  return (out_features + rounds * blocks - 1) / (rounds * blocks);
}

template <typename T, int kGroups>
void LaunchMid(const MidGemmArgs<T>& args, CudaStream stream) {
  constexpr int32_t kMost = kMaxRows<kGroups>;
  const int32_t rows =
      RowsOfBlock(args.out_features,
                  args.activated != nullptr ? 1 : args.num_partials, kMost);
  if (rows <= 96) return LaunchMid<T, kGroups, 96>(args, stream);
  if (rows <= 112) return LaunchMid<T, kGroups, 112>(args, stream);
  if (rows <= 128) return LaunchMid<T, kGroups, 128>(args, stream);
  if constexpr (kMost > 128) {
    if (rows <= 160) return LaunchMid<T, kGroups, 160>(args, stream);
    if (rows <= 176) return LaunchMid<T, kGroups, 176>(args, stream);
    if (rows <= 192) return LaunchMid<T, kGroups, 192>(args, stream);
    LaunchMid<T, kGroups, kMost>(args, stream);
  }
}

}  // namespace

template <typename T>
bool MidGemmSupported(const MidGemmArgs<T>& args) {
  return sizeof(T) == 2 && TensorMapsSupported() && args.num_tokens >= 1 &&
         args.num_tokens <= kMaxMidTokens && args.in_features % kDepth == 0 &&
         args.out_features % kUnitRows == 0;
}

template <typename T>
void MidGemm(const MidGemmArgs<T>& args, CudaStream stream) {
  if constexpr (sizeof(T) == 2) {
    switch ((args.num_tokens + kGroupTokens - 1) / kGroupTokens) {
      case 1:
      case 2:
        return LaunchMid<T, 2>(args, stream);
      case 3:
        return LaunchMid<T, 3>(args, stream);
      default:
        return LaunchMid<T, kMaxGroups>(args, stream);
    }
  }
}

// Of up to 160 rows: more parts are more to add up, fewer make each block read
// more of x.
int32_t MidGemmPartials(int32_t out_features) {
  return RowsOfBlock(out_features, kMaxMidPartials, kMaxRows<2>) <= 160
             ? kMaxMidPartials
             : 2;
}

#define DROVER_INSTANTIATE(T)                            \
  template bool MidGemmSupported(const MidGemmArgs<T>&); \
  template void MidGemm(const MidGemmArgs<T>&, CudaStream);
DROVER_INSTANTIATE(float)
DROVER_INSTANTIATE(Float16)
DROVER_INSTANTIATE(BFloat16)
#undef DROVER_INSTANTIATE

}  // namespace drover::kernels::cuda
