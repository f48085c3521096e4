#include "model/kernels/cuda/skinny_gemm.h"

#include <cuda.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mbarrier.cuh"
#include "model/kernels/cuda/named_barrier.cuh"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/cuda/tensor_map.h"
#include "model/kernels/cuda/wgmma.cuh"

// Each multiprocessor should read the same share of the weight, without a
// pause, and little of x, which all of them want. So each has one thread block,
// which takes a tile of the weight's rows, or part of its depth: a part of it
// needs only that part of x. A warpgroup sums the products of 64 rows; one more
// warp starts the copies into a ring of buffers, the weight's even before the
// kernel in front has finished.
//
// Of each 16 rows, a unit, the tensor cores get the even ones first, with
// silu_mul the gate's: a thread then has two neighbours, or a gate and its up.

namespace drover::kernels::cuda {
namespace {

constexpr int kUnitRows = 16;
constexpr int kWarpgroupUnits = 4;
constexpr int kDepth = 64;  // of a chunk: rows of 128 bytes
constexpr int kMaxUnits = 16;
constexpr int kMaxStages = 8;
// Leaves each 72 registers, 112 where it has 64 sums.
template <int kTokens>
constexpr int kMaxThreads = kTokens <= 64 ? 896 : 576;
constexpr uint32_t kRowBytes = kDepth * 2;
constexpr uint32_t kUnitBytes = kUnitRows * kRowBytes;
constexpr int32_t kMaxRingBytes = 188 << 10;
// What was fastest: fewer barriers, and no more than keeps the memory busy.
constexpr int32_t kRingBytes = 150 << 10;
constexpr int32_t kStageBytes = 48 << 10;
// Each warpgroup's place for sums, behind the ring. Products of the last stage
// read on into it: past a warpgroup's units, where it has not all, and past x's
// rows, which are at least half of those multiplied.
constexpr uint32_t kStagingBytes = 9 << 10;
static_assert((kWarpgroupUnits - 1) * kUnitBytes <= kStagingBytes);
static_assert(kMaxSkinnyTokens / 2 * kRowBytes <= kStagingBytes);

// Of so many tokens, in shared memory.
__host__ __device__ constexpr int32_t RowsOfX(int32_t num_tokens) {
  return (num_tokens + 7) / 8 * 8;
}

template <typename T>
struct KernelArgs {
  SkinnyGemmArgs<T> gemm;
  int32_t num_units = 0;     // of a tile
  int32_t num_stages = 0;    // of the ring
  int32_t stage_chunks = 0;  // of the depth, in a stage
  int32_t num_splits = 1;    // parts of the depth
};

template <typename T>
__device__ T SiluMul(float gate, float up) {
  gate = RoundTo<T>(gate);
  return FromFloat<T>(RoundTo<T>(__fdividef(gate, 1.0f + __expf(-gate))) *
                      RoundTo<T>(up));
}

template <typename T>
__device__ Vec<T> AddUp(Vec<T> values, const Vec<T>& others) {
#pragma unroll
  for (int i = 0; i < Vec<T>::kSize; ++i) {
    values.values[i] =
        FromFloat<T>(AsFloat(values.values[i]) + AsFloat(others.values[i]));
  }
  return values;
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
  const int32_t units = args.gemm.out_features / kUnitRows;
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
// units, then of each the rows of x: of the kTokens that are multiplied only
// whole eights that hold tokens. The other products are nobody's.
template <int kTokens>
class Ring {
 public:
  __device__ Ring(uint32_t memory, uint64_t* full, uint64_t* empty,
                  int32_t num_units, int32_t num_x_rows, int32_t num_stages,
                  int32_t stage_chunks)
      : memory_(memory),
        full_(full),
        empty_(empty),
        num_units_(num_units),
        num_x_rows_(num_x_rows),
        num_stages_(num_stages),
        stage_chunks_(stage_chunks) {}

  __device__ uint32_t WeightChunkBytes() const {
    return num_units_ * kUnitBytes;
  }
  __device__ uint32_t XChunkBytes() const { return num_x_rows_ * kRowBytes; }
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
  const int32_t num_x_rows_;
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
  const auto start_weight = [&](const Walk& walk) {
    const int stage = walk.place.stage;
    ring.full(stage).ArriveExpecting(ring.StageBytes());
    StartBoxCopy(ring.Weight(stage), weight_map, ring.full(stage), policy,
                 walk.unit, part.first_chunk + walk.chunk);
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
                         float (&sums)[kTokens / 8][4]) {
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
      HoldSums(sums);
    }
    if (releases) ring.empty(place.stage).Arrive();
    place.Next(ring.num_stages());
  }
}

// A warpgroup's sums on their way to memory: `put` leaves two of a thread's
// rows where the token's kRows values are gathered in shared memory; `store`
// gets 16 bytes of them. The room between tokens keeps threads off each other's
// banks.
template <typename Value, int kRows, int kTokens, typename Put, typename Store>
__device__ __forceinline__ void StoreByToken(
    const float (&sums)[kTokens / 8][4], int32_t num_tokens, int32_t num_rows,
    unsigned char* staging, Put put, Store store) {
  constexpr int kSize = Vec<Value>::kSize;
  constexpr int kStride = kRows + kSize;
  constexpr int kMaxStaged = sizeof(Value) == 2 ? 64 : 32;
  constexpr int kStaged = kTokens < kMaxStaged ? kTokens : kMaxStaged;
  static_assert(kStaged * kStride * sizeof(Value) <= kStagingBytes);
  const int barrier = 1 + threadIdx.x / 128;
  auto* const values = reinterpret_cast<Value*>(staging);
#pragma unroll
  for (int begin = 0; begin < kTokens; begin += kStaged) {
    NamedSync(barrier, 128);  // all have stored what was there
#pragma unroll
    for (int i = 0; i < kStaged / 8; ++i) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const auto& pair = sums[begin / 8 + i];
        put(pair[c], pair[2 + c],
            values + (8 * i + threadIdx.x % 4 * 2 + c) * kStride);
      }
    }
    NamedSync(barrier, 128);
    for (int i = threadIdx.x % 128; i < kStaged * kRows / kSize; i += 128) {
      const int token = i / (kRows / kSize);
      const int row = i % (kRows / kSize) * kSize;
      if (begin + token >= num_tokens || row >= num_rows) continue;
      store(begin + token, row, LoadVec(values + token * kStride + row));
    }
  }
}

// Rows [first_row, end_row) are the warpgroup's.
template <typename T, int kTokens>
__device__ void StoreSums(const SkinnyGemmArgs<T>& args, int32_t split,
                          int32_t first_row, int32_t end_row,
                          const float (&sums)[kTokens / 8][4],
                          unsigned char* staging) {
  constexpr int kRows = kWarpgroupUnits * kUnitRows;
  const int32_t num_rows = end_row - first_row;
  const int unit = threadIdx.x % 128 / 32;
  const int pair = threadIdx.x % 32 / 4;  // of the unit's eight
  float bias[2] = {};
  const auto read_bias = [&](int32_t first, int32_t second) {
    if (args.bias == nullptr || unit * kUnitRows >= num_rows) return;
    bias[0] = AsFloat(args.bias[first]);
    bias[1] = AsFloat(args.bias[second]);
  };
  if (args.silu_mul) {
    const int32_t size = args.out_features / 2;
    const int32_t row = unit * 8 + pair;
    T* const out = args.out + first_row / 2;
    read_bias(first_row / 2 + row, size + first_row / 2 + row);
    StoreByToken<T, kRows / 2, kTokens>(
        sums, args.num_tokens, num_rows / 2, staging,
        [&](float gate, float up, T* to) {
          to[row] = SiluMul<T>(gate + bias[0], up + bias[1]);
        },
        [&](int32_t token, int32_t chunk, const Vec<T>& values) {
          StoreVec(out + token * size + chunk, values);
        });
    return;
  }
  const int32_t row = unit * kUnitRows + 2 * pair;
  if (args.partials == nullptr) read_bias(first_row + row, first_row + row + 1);
  if (args.out != nullptr) {
    StoreByToken<T, kRows, kTokens>(
        sums, args.num_tokens, num_rows, staging,
        [&](float first, float second, T* to) {
          to[row] = FromFloat<T>(first + bias[0]);
          to[row + 1] = FromFloat<T>(second + bias[1]);
        },
        [&](int32_t token, int32_t chunk, const Vec<T>& values) {
          const int32_t index = token * args.out_features + first_row + chunk;
          StoreVec(args.out + index,
                   args.residual == nullptr
                       ? values
                       : AddUp(values, LoadVec(args.residual + index)));
        });
    return;
  }
  float* const out =
      (args.partials == nullptr
           ? args.out_float
           : args.partials + split * args.num_tokens * args.out_features) +
      first_row;
  StoreByToken<float, kRows, kTokens>(
      sums, args.num_tokens, num_rows, staging,
      [&](float first, float second, float* to) {
        to[row] = first + bias[0];
        to[row + 1] = second + bias[1];
      },
      [&](int32_t token, int32_t chunk, const Vec<float>& values) {
        StoreVec(out + token * args.out_features + chunk, values);
      });
}

template <typename T, int kTokens>
__device__ void Consume(const KernelArgs<T>& args, const Part& part,
                        const Ring<kTokens>& ring, unsigned char* staging) {
  const int warpgroup = __shfl_sync(kAllLanes, threadIdx.x / 128, 0);
  Place place;
  float sums[kTokens / 8][4] = {};
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
                          end_unit * kUnitRows, sums,
                          staging + warpgroup * kStagingBytes);
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename T, int kTokens>
__global__ void __launch_bounds__(kMaxThreads<kTokens>, 1)
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
                           RowsOfX(args.gemm.num_tokens), args.num_stages,
                           args.stage_chunks);
  const bool is_producer =
      threadIdx.x / 128 == static_cast<uint32_t>(ring.num_warpgroups());
  if (is_producer && threadIdx.x % 32 == 0) ring.Init();
  __syncthreads();
  const Part part = FindPart(args);
  if (!is_producer) {
    WaitForInputs();
    Consume<T, kTokens>(args, part, ring,
                        aligned + ring.num_stages() * ring.StageBytes());
  } else if (threadIdx.x % 32 == 0) {
    Produce<T, kTokens>(weight_map, x_map, args, part, ring);
  }
#else
  __trap();  // built for a Hopper without its own instructions
#endif
}

// ---- The host's side ----

// A stage's box: units, of eight and eight rows; the chunks of the depth come
// last, so that each is a tile of its own in shared memory.
template <typename T>
CUtensorMap WeightMap(const SkinnyGemmArgs<T>& args, uint32_t units,
                      uint32_t chunks) {
  const auto depth = static_cast<uint64_t>(args.in_features);
  const auto rows = static_cast<uint64_t>(args.out_features);
  const uint64_t row_bytes = depth * 2;
  std::array<uint64_t, 4> strides = {2 * row_bytes, row_bytes,
                                     kUnitRows * row_bytes, kRowBytes};
  if (args.silu_mul) {
    strides = {row_bytes, rows / 2 * row_bytes, 8 * row_bytes, kRowBytes};
  }
  return EncodeTensorMap<5, T>(args.weight,
                               {kDepth, 8, 2, rows / kUnitRows, depth / kDepth},
                               strides, {kDepth, 8, 2, units, chunks});
}

template <typename T>
CUtensorMap XMap(const SkinnyGemmArgs<T>& args, uint32_t chunks) {
  const auto depth = static_cast<uint64_t>(args.in_features);
  return EncodeTensorMap<3, T>(
      args.x, {kDepth, static_cast<uint64_t>(args.num_tokens), depth / kDepth},
      {depth * 2, kRowBytes},
      {kDepth, static_cast<uint32_t>(RowsOfX(args.num_tokens)), chunks});
}

int32_t Bucket(int32_t num_tokens) {
  return num_tokens <= 8    ? 8
         : num_tokens <= 16 ? 16
         : num_tokens <= 32 ? 32
         : num_tokens <= 64 ? 64
                            : 128;
}

int32_t ChunkBytes(int32_t num_units, int32_t num_tokens) {
  return num_units * static_cast<int32_t>(kUnitBytes) +
         RowsOfX(num_tokens) * static_cast<int32_t>(kRowBytes);
}

template <typename T, int kTokens>
void LaunchSkinny(const SkinnyGemmArgs<T>& args, const SkinnyGemmShape& shape,
                  CudaStream stream) {
  static thread_local const bool allowed = [] {
    AllowSharedMemory(SkinnyGemmKernel<T, kTokens>,
                      kMaxRingBytes + 4 * kStagingBytes + 1024);
    return true;
  }();
  static_cast<void>(allowed);
  const int32_t warpgroups =
      (shape.num_units + kWarpgroupUnits - 1) / kWarpgroupUnits;
  const int32_t ring_bytes = shape.num_stages * shape.stage_chunks *
                             ChunkBytes(shape.num_units, args.num_tokens);
  const KernelArgs<T> kernel_args = {.gemm = args,
                                     .num_units = shape.num_units,
                                     .num_stages = shape.num_stages,
                                     .stage_chunks = shape.stage_chunks,
                                     .num_splits = shape.num_splits};
  Launch(
      SkinnyGemmKernel<T, kTokens>,
      {.grid = dim3(static_cast<uint32_t>(shape.num_splits * shape.num_blocks)),
       .block = static_cast<uint32_t>(128 * warpgroups + 32),
       .shared_bytes = ring_bytes + warpgroups * kStagingBytes + 1024},
      stream,
      WeightMap(args, static_cast<uint32_t>(shape.num_units),
                static_cast<uint32_t>(shape.stage_chunks)),
      XMap(args, static_cast<uint32_t>(shape.stage_chunks)), kernel_args);
}

}  // namespace

template <typename T>
bool SkinnyGemmSupported(const SkinnyGemmArgs<T>& args) {
  return sizeof(T) == 2 && TensorMapsSupported() && args.num_tokens >= 1 &&
         args.num_tokens <= kMaxSkinnyTokens &&
         args.in_features % kDepth == 0 && args.out_features % kUnitRows == 0;
}

// One thread block on each multiprocessor, with at most 256 rows at once.
template <typename T>
SkinnyGemmShape ChooseSkinnyGemmShape(const SkinnyGemmArgs<T>& args) {
  const int32_t units = args.out_features / kUnitRows;
  SkinnyGemmShape shape;
  shape.num_splits = args.partials != nullptr ? args.num_partials : 1;
  const int32_t blocks = std::clamp(
      CurrentDevice().num_multiprocessors / shape.num_splits, 1, units);
  const int32_t each = (units + blocks - 1) / blocks;
  // One tile's SiLU is then beside the reading of another's rows.
  const bool is_halved =
      args.silu_mul && args.num_tokens > 32 && args.num_tokens <= 64;
  const int32_t tiles = std::min(
      each, std::max(is_halved ? 2 : 1, (each + kMaxUnits - 1) / kMaxUnits));
  shape.num_blocks = (units + each - 1) / each;
  shape.num_units = (each + tiles - 1) / tiles;
  const int32_t chunk_bytes = ChunkBytes(shape.num_units, args.num_tokens);
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
      case 64:
        return LaunchSkinny<T, 64>(args, shape, stream);
      default:
        return LaunchSkinny<T, 128>(args, shape, stream);
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
