#include "model/kernels/cuda/skinny_gemm.h"

#include <cuda.h>

#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mbarrier.cuh"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/cuda/tensor_map.h"
#include "model/kernels/cuda/wgmma.cuh"

// Each multiprocessor should read the same share of the weight, without a
// pause, and little of x, which all of them want. So each has one thread block,
// which takes a tile of the weight's rows, or part of its depth: a part of it
// needs only that part of x. A warpgroup sums the products of 64 rows; one more
// warp starts the copies into a ring of buffers, the weight's even before the
// kernel in front has finished.

namespace drover::kernels::cuda {
namespace {

constexpr int kUnitRows = 16;
constexpr int kWarpgroupUnits = 4;
constexpr int kDepth = 64;  // of a chunk: rows of 128 bytes
constexpr int kMaxUnits = 16;
constexpr int kMaxStages = 8;
constexpr int kMaxThreads = 1024;  // leaves each 64 registers
constexpr uint32_t kRowBytes = kDepth * 2;
constexpr uint32_t kUnitBytes = kUnitRows * kRowBytes;
constexpr int32_t kMaxRingBytes = 208 << 10;
// What was fastest: fewer barriers, and no more than keeps the memory busy.
constexpr int32_t kRingBytes = 150 << 10;
constexpr int32_t kStageBytes = 48 << 10;
// A warpgroup that has not all its units reads on past them.
constexpr uint32_t kPaddingBytes = (kWarpgroupUnits - 1) * kUnitBytes;

template <typename T>
struct KernelArgs {
  SkinnyGemmArgs<T> gemm;
  int32_t num_units = 0;     // of a tile
  int32_t num_stages = 0;    // of the ring
  int32_t stage_chunks = 0;  // of the depth, in a stage
  int32_t num_splits = 1;    // parts of the depth
};

// Adds what follows the product, for out[token, row].
template <typename T>
__device__ float Finish(const SkinnyGemmArgs<T>& args, int32_t row, float sum) {
  if (args.bias != nullptr) sum += AsFloat(args.bias[row]);
  return sum;
}

template <typename T>
__device__ float FinishPair(const SkinnyGemmArgs<T>& args, int32_t row,
                            float gate, float up) {
  gate = RoundTo<T>(Finish(args, row, gate));
  up = RoundTo<T>(Finish(args, args.out_features / 2 + row, up));
  return RoundTo<T>(gate / (1.0f + __expf(-gate))) * up;
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// What this thread block does.
struct Part {
  int32_t split = 0;       // of the depth
  int32_t first_unit = 0;  // of the rows
  int32_t end_unit = 0;
  int32_t first_chunk = 0;  // of the depth
  int32_t num_chunks = 0;
};

template <typename T>
__device__ Part FindPart(const KernelArgs<T>& args) {
  const int32_t splits = args.num_splits;
  const int32_t blocks = static_cast<int32_t>(gridDim.x) / splits;
  const int32_t block = static_cast<int32_t>(blockIdx.x) % blocks;
  const int32_t units = (args.gemm.out_features + kUnitRows - 1) / kUnitRows;
  const int32_t chunks = args.gemm.in_features / kDepth;
  Part part;
  part.split = static_cast<int32_t>(blockIdx.x) / blocks;
  part.first_unit = block * units / blocks;
  part.end_unit = (block + 1) * units / blocks;
  part.first_chunk = part.split * chunks / splits;
  part.num_chunks = (part.split + 1) * chunks / splits - part.first_chunk;
  return part;
}

// The ring. A stage has some chunks of the depth: of each the rows of a tile's
// units, then of each the kTokens rows of x.
template <int kTokens>
class Ring {
 public:
  __device__ Ring(uint32_t memory, uint64_t* full, uint64_t* empty,
                  int32_t num_units, int32_t num_stages, int32_t stage_chunks)
      : memory_(memory),
        full_(full),
        empty_(empty),
        num_units_(num_units),
        num_stages_(num_stages),
        stage_chunks_(stage_chunks) {}

  __device__ uint32_t WeightChunkBytes() const {
    return num_units_ * kUnitBytes;
  }
  __device__ uint32_t XChunkBytes() const { return kTokens * kRowBytes; }
  __device__ uint32_t StageBytes() const {
    return stage_chunks_ * (WeightChunkBytes() + XChunkBytes());
  }
  __device__ uint32_t Weight(int stage) const {
    return memory_ + stage * StageBytes();
  }
  __device__ uint32_t X(int stage) const {
    return Weight(stage) + stage_chunks_ * WeightChunkBytes();
  }
  __device__ Barrier full(int stage) const { return Barrier(full_ + stage); }
  __device__ Barrier empty(int stage) const { return Barrier(empty_ + stage); }
  __device__ int32_t num_units() const { return num_units_; }
  __device__ int32_t num_stages() const { return num_stages_; }
  __device__ int32_t stage_chunks() const { return stage_chunks_; }
  __device__ int32_t num_warpgroups() const {
    return (num_units_ + kWarpgroupUnits - 1) / kWarpgroupUnits;
  }

  __device__ void Init() const {
    for (int stage = 0; stage < num_stages_; ++stage) {
      full(stage).Init(1);
      empty(stage).Init(4 * num_warpgroups());  // its warps
    }
    PublishBarriers();
  }

 private:
  const uint32_t memory_;
  uint64_t* const full_;
  uint64_t* const empty_;
  const int32_t num_units_;
  const int32_t num_stages_;
  const int32_t stage_chunks_;
};

// A place in the ring.
struct Place {
  int stage = 0;
  uint32_t phase = 0;

  __device__ void Next(int num_stages) {
    if (++stage == num_stages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

// Where the producer is: a stage's chunks of a tile.
struct Walk {
  int32_t unit = 0;   // the tile's first
  int32_t chunk = 0;  // of the block's
  Place place;

  __device__ bool IsDone(const Part& part) const {
    return unit >= part.end_unit;
  }
  template <int kTokens>
  __device__ void Next(const Part& part, const Ring<kTokens>& ring) {
    chunk += ring.stage_chunks();
    if (chunk >= part.num_chunks) {
      chunk = 0;
      unit += ring.num_units();
    }
    place.Next(ring.num_stages());
  }
};

// One thread's walk over all chunks of all tiles.
template <typename T, int kTokens>
__device__ void Produce(const CUtensorMap& weight_map, const CUtensorMap& x_map,
                        const KernelArgs<T>& args, const Part& part,
                        const Ring<kTokens>& ring) {
  const uint64_t policy = EvictFirst();
  const int32_t groups_y = args.gemm.silu_mul ? 0 : kUnitRows / 8;
  const int32_t groups_z = args.gemm.silu_mul ? kUnitRows / 16 : 0;
  const auto start_weight = [&](const Walk& walk) {
    const int stage = walk.place.stage;
    ring.full(stage).ArriveExpecting(ring.StageBytes());
    StartBoxCopy(ring.Weight(stage), weight_map, ring.full(stage), policy,
                 walk.unit * groups_y, walk.unit * groups_z,
                 part.first_chunk + walk.chunk);
  };
  const auto start_x = [&](const Walk& walk) {
    const int stage = walk.place.stage;
    StartBoxCopy(ring.X(stage), x_map, ring.full(stage),
                 part.first_chunk + walk.chunk);
  };
  const Walk begin = {.unit = part.num_chunks > 0 ? part.first_unit
                                                  : part.end_unit};
  Walk walk = begin;
  for (; !walk.IsDone(part) && walk.place.phase == 0; walk.Next(part, ring)) {
    start_weight(walk);
  }
  WaitForInputs();
  walk = begin;
  for (; !walk.IsDone(part) && walk.place.phase == 0; walk.Next(part, ring)) {
    start_x(walk);
  }
  for (; !walk.IsDone(part); walk.Next(part, ring)) {
    // The readers of what is there, whose phase came before this one.
    ring.empty(walk.place.stage).Wait(walk.place.phase ^ 1);
    start_weight(walk);
    start_x(walk);
  }
}

// The sums of a warpgroup's units of one tile; of none, only keeps step with
// the others.
template <typename T, int kTokens>
__device__ void SumUnits(const Ring<kTokens>& ring, int warpgroup,
                         bool is_active, int32_t num_chunks, Place& place,
                         float (&sums)[kTokens / 2]) {
  const bool releases = threadIdx.x % 32 == 0;
  for (int32_t chunk = 0; chunk < num_chunks; chunk += ring.stage_chunks()) {
    ring.full(place.stage).Wait(place.phase);
    if (is_active) {
      uint64_t a = SwizzledFactor(ring.Weight(place.stage) +
                                  warpgroup * kWarpgroupUnits * kUnitBytes);
      uint64_t b = SwizzledFactor(ring.X(place.stage));
      const int32_t chunks = min(ring.stage_chunks(), num_chunks - chunk);
      BeginProducts();
      for (int32_t i = 0; i < chunks; ++i) {
#pragma unroll
        for (int k = 0; k < kDepth / 16; ++k) {
          Multiply(T{}, a + 2 * k, b + 2 * k, chunk + i + k > 0, sums);
        }
        a += ring.WeightChunkBytes() >> 4;
        b += ring.XChunkBytes() >> 4;
      }
      EndProducts();
      AwaitProducts<0>();
    }
    if (releases) ring.empty(place.stage).Arrive();
    place.Next(ring.num_stages());
  }
}

// Calls store(row, token, sum, other) for this thread's sums: of the
// warpgroup's row and of row + 8, the up to the gate of silu_mul.
template <int kTokens, typename Store>
__device__ __forceinline__ void ForEachSum(const float (&sums)[kTokens / 2],
                                           Store store) {
  const int row = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
#pragma unroll
  for (int i = 0; i < kTokens / 8; ++i) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      store(row, 8 * i + threadIdx.x % 4 * 2 + c, sums[4 * i + c],
            sums[4 * i + 2 + c]);
    }
  }
}

template <typename T>
__device__ __forceinline__ void StoreOne(const SkinnyGemmArgs<T>& args,
                                         int32_t split, int32_t token,
                                         int32_t row, float sum) {
  const int32_t index = token * args.out_features + row;
  if (args.partials != nullptr) {
    args.partials[split * args.num_tokens * args.out_features + index] = sum;
    return;
  }
  sum = Finish(args, row, sum);
  if (args.out_float != nullptr) {
    args.out_float[index] = sum;
    return;
  }
  if (args.residual != nullptr) {
    sum = RoundTo<T>(sum) + AsFloat(args.residual[index]);
  }
  args.out[index] = FromFloat<T>(sum);
}

// Rows [first_row, end_row) are the warpgroup's.
template <typename T, int kTokens>
__device__ void StoreSums(const SkinnyGemmArgs<T>& args, int32_t split,
                          int32_t first_row, int32_t end_row,
                          const float (&sums)[kTokens / 2]) {
  ForEachSum<kTokens>(sums, [&](int row, int token, float sum, float other) {
    row += first_row;
    if (token >= args.num_tokens || row >= end_row) return;
    if (args.silu_mul) {
      const int32_t out_row = row / 16 * 8 + row % 16;
      args.out[token * (args.out_features / 2) + out_row] =
          FromFloat<T>(FinishPair(args, out_row, sum, other));
      return;
    }
    StoreOne(args, split, token, row, sum);
    if (row + 8 < end_row) StoreOne(args, split, token, row + 8, other);
  });
}

template <typename T, int kTokens>
__device__ void Consume(const KernelArgs<T>& args, const Part& part,
                        const Ring<kTokens>& ring) {
  const int warpgroup = __shfl_sync(kAllLanes, threadIdx.x / 128, 0);
  Place place;
  float sums[kTokens / 2] = {};
  for (int32_t tile = part.first_unit; tile < part.end_unit;
       tile += ring.num_units()) {
    const int32_t unit = tile + warpgroup * kWarpgroupUnits;
    const int32_t end_unit = min(min(part.end_unit, tile + ring.num_units()),
                                 unit + kWarpgroupUnits);
    const bool is_active = unit < end_unit;
    SumUnits<T, kTokens>(ring, warpgroup, is_active, part.num_chunks, place,
                         sums);
    if (!is_active) continue;
    StoreSums<T, kTokens>(args.gemm, part.split, unit * kUnitRows,
                          min(end_unit * kUnitRows, args.gemm.out_features),
                          sums);
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename T, int kTokens>
__global__ void __launch_bounds__(kMaxThreads, 1)
    SkinnyGemmKernel(const __grid_constant__ CUtensorMap weight_map,
                     const __grid_constant__ CUtensorMap x_map,
                     const KernelArgs<T> args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char memory[];
  __shared__ __align__(8) uint64_t full[kMaxStages];
  __shared__ __align__(8) uint64_t empty[kMaxStages];
  LetNextKernelStart();
  unsigned char* const aligned =
      memory + (1024 - SharedAddress(memory) % 1024) % 1024;
  const Ring<kTokens> ring(SharedAddress(aligned), full, empty, args.num_units,
                           args.num_stages, args.stage_chunks);
  const bool is_producer =
      threadIdx.x / 128 == static_cast<uint32_t>(ring.num_warpgroups());
  if (is_producer && threadIdx.x % 32 == 0) ring.Init();
  __syncthreads();
  const Part part = FindPart(args);
  if (!is_producer) {
    WaitForInputs();
    Consume<T, kTokens>(args, part, ring);
  } else if (threadIdx.x % 32 == 0) {
    Produce<T, kTokens>(weight_map, x_map, args, part, ring);
  }
#else
  __trap();  // built for a Hopper without its own instructions
#endif
}

// ---- The host's side ----

// A stage's box: the chunks of the depth come last, so that each is a tile of
// its own in shared memory. Rows come in groups of eight; with silu_mul one of
// the gate's, then one of the up's.
template <typename T>
CUtensorMap WeightMap(const SkinnyGemmArgs<T>& args, uint32_t units,
                      uint32_t chunks) {
  const auto depth = static_cast<uint64_t>(args.in_features);
  const auto rows = static_cast<uint64_t>(args.out_features);
  const uint64_t row_bytes = depth * 2;
  if (args.silu_mul) {
    return EncodeTensorMap<5, T>(
        args.weight, {kDepth, 8, 2, rows / 16, depth / kDepth},
        {row_bytes, rows / 2 * row_bytes, 8 * row_bytes, kRowBytes},
        {kDepth, 8, 2, units * (kUnitRows / 16), chunks});
  }
  return EncodeTensorMap<5, T>(
      args.weight, {kDepth, 8, rows / 8, 1, depth / kDepth},
      {row_bytes, 8 * row_bytes, rows * row_bytes, kRowBytes},
      {kDepth, 8, units * (kUnitRows / 8), 1, chunks});
}

template <typename T>
CUtensorMap XMap(const SkinnyGemmArgs<T>& args, uint32_t tokens,
                 uint32_t chunks) {
  const auto depth = static_cast<uint64_t>(args.in_features);
  return EncodeTensorMap<3, T>(
      args.x, {kDepth, static_cast<uint64_t>(args.num_tokens), depth / kDepth},
      {depth * 2, kRowBytes}, {kDepth, tokens, chunks});
}

int32_t Bucket(int32_t num_tokens) {
  return num_tokens <= 8    ? 8
         : num_tokens <= 16 ? 16
         : num_tokens <= 32 ? 32
                            : 64;
}

int32_t ChunkBytes(int32_t num_units, int32_t bucket) {
  return num_units * static_cast<int32_t>(kUnitBytes) +
         bucket * static_cast<int32_t>(kRowBytes);
}

template <typename T, int kTokens>
void LaunchSkinny(const SkinnyGemmArgs<T>& args, const SkinnyGemmShape& shape,
                  CudaStream stream) {
  static thread_local const bool allowed = [] {
    AllowSharedMemory(SkinnyGemmKernel<T, kTokens>,
                      kMaxRingBytes + kPaddingBytes + 1024);
    return true;
  }();
  static_cast<void>(allowed);
  const int32_t warpgroups =
      (shape.num_units + kWarpgroupUnits - 1) / kWarpgroupUnits;
  const int32_t ring_bytes = shape.num_stages * shape.stage_chunks *
                             ChunkBytes(shape.num_units, kTokens);
  const KernelArgs<T> kernel_args = {.gemm = args,
                                     .num_units = shape.num_units,
                                     .num_stages = shape.num_stages,
                                     .stage_chunks = shape.stage_chunks,
                                     .num_splits = shape.num_splits};
  Launch(
      SkinnyGemmKernel<T, kTokens>,
      {.grid = dim3(static_cast<uint32_t>(shape.num_splits * shape.num_blocks)),
       .block = static_cast<uint32_t>(128 * warpgroups + 32),
       .shared_bytes = static_cast<size_t>(ring_bytes) + kPaddingBytes + 1024},
      stream,
      WeightMap(args, static_cast<uint32_t>(shape.num_units),
                static_cast<uint32_t>(shape.stage_chunks)),
      XMap(args, kTokens, static_cast<uint32_t>(shape.stage_chunks)),
      kernel_args);
}

}  // namespace

template <typename T>
bool SkinnyGemmSupported(const SkinnyGemmArgs<T>& args) {
  return sizeof(T) == 2 && TensorMapsSupported() && args.num_tokens >= 1 &&
         args.num_tokens <= kMaxSkinnyTokens &&
         args.in_features % kDepth == 0 &&
         args.out_features % (args.silu_mul ? 16 : 8) == 0;
}

// One thread block on each multiprocessor, with at most 256 rows at once.
template <typename T>
SkinnyGemmShape ChooseSkinnyGemmShape(const SkinnyGemmArgs<T>& args) {
  const int32_t units = (args.out_features + kUnitRows - 1) / kUnitRows;
  SkinnyGemmShape shape;
  shape.num_splits = args.partials != nullptr ? args.num_partials : 1;
  const int32_t blocks = std::clamp(
      CurrentDevice().num_multiprocessors / shape.num_splits, 1, units);
  const int32_t each = (units + blocks - 1) / blocks;
  const int32_t tiles = (each + kMaxUnits - 1) / kMaxUnits;
  shape.num_blocks = (units + each - 1) / each;
  shape.num_units = (each + tiles - 1) / tiles;
  const int32_t chunk_bytes =
      ChunkBytes(shape.num_units, Bucket(args.num_tokens));
  shape.stage_chunks = std::clamp(kStageBytes / chunk_bytes, 1, 4);
  shape.num_stages = std::clamp(kRingBytes / (shape.stage_chunks * chunk_bytes),
                                2, kMaxStages);
  return shape;
}

template <typename T>
void SkinnyGemm(const SkinnyGemmArgs<T>& args, const SkinnyGemmShape& shape,
                CudaStream stream) {
  if constexpr (sizeof(T) == 2) {
    switch (Bucket(args.num_tokens)) {
      case 8:
        return LaunchSkinny<T, 8>(args, shape, stream);
      case 16:
        return LaunchSkinny<T, 16>(args, shape, stream);
      case 32:
        return LaunchSkinny<T, 32>(args, shape, stream);
      default:
        return LaunchSkinny<T, 64>(args, shape, stream);
    }
  }
}

template <typename T>
void SkinnyGemm(const SkinnyGemmArgs<T>& args, CudaStream stream) {
  SkinnyGemm(args, ChooseSkinnyGemmShape(args), stream);
}

#define DROVER_INSTANTIATE(T)                                                \
  template bool SkinnyGemmSupported(const SkinnyGemmArgs<T>&);               \
  template SkinnyGemmShape ChooseSkinnyGemmShape(const SkinnyGemmArgs<T>&);  \
  template void SkinnyGemm(const SkinnyGemmArgs<T>&, const SkinnyGemmShape&, \
                           CudaStream);                                      \
  template void SkinnyGemm(const SkinnyGemmArgs<T>&, CudaStream);
DROVER_INSTANTIATE(float)
DROVER_INSTANTIATE(Float16)
DROVER_INSTANTIATE(BFloat16)
#undef DROVER_INSTANTIATE

}  // namespace drover::kernels::cuda
