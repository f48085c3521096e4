#include <cuda.h>

#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/attention_args.cuh"
#include "model/kernels/cuda/cluster.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mbarrier.cuh"
#include "model/kernels/cuda/mma.cuh"
#include "model/kernels/cuda/named_barrier.cuh"
#include "model/kernels/cuda/prefill_rows.cuh"
#include "model/kernels/cuda/tensor_map.h"
#include "model/kernels/cuda/wgmma.cuh"

// Many queries per sequence on Hopper's tensor cores, after Shah et al.,
// "FlashAttention-3" (2024). A thread block takes 128 rows and walks over tiles
// of 128 keys. One warp brings the tiles in, a KV block at a time; two
// warpgroups have 64 rows each. A warpgroup starts the scores of a tile and the
// values of the one before, and works on the scores while the values are added.
// The two take turns in starting, so that one's softmax is beside the other's
// products.
//
// Where keys are not divided, a block takes one item after the other: the
// loading warp goes on to the next one's tiles while this one's rows are
// stored.

namespace drover::kernels::cuda {
namespace {

constexpr int kWarpgroups = 2;
constexpr int kWarps = 4 * kWarpgroups;     // that have rows
constexpr int kConsumers = 32 * kWarps;     // threads
constexpr int kThreads = kConsumers + 128;  // with the loading warp's group
constexpr int kRows = 64 * kWarpgroups;
constexpr int kKeys = 128;
constexpr int kHalf = 64;  // of a head's dimensions: a row of 128 bytes
static_assert(kRows == kKeys, "queries are laid out like keys");

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int kStages = 2;
constexpr int32_t kMinSplitTiles = 2;
constexpr uint32_t kHalfBytes = kKeys * kHalf * 2;

template <int kHeadDim>
struct alignas(1024) QueryOrKvTile {
  unsigned char bytes[kKeys * kHeadDim * 2];  // half by half

  // The sixteen bytes of 8 dimensions.
  __device__ uint4* At(int row, int chunk) {
    const uint32_t offset =
        chunk / 8 * kHalfBytes + row * 128 + ((chunk % 8) ^ (row % 8)) * 16;
    return reinterpret_cast<uint4*>(bytes + offset);
  }
};

template <int kHeadDim>
struct Shared {
  union {
    struct {
      QueryOrKvTile<kHeadDim> queries;
      QueryOrKvTile<kHeadDim> keys[kStages];
      QueryOrKvTile<kHeadDim> values[kStages];
    };
    float partials[kRows][kPartialSize<kHeadDim>];
  };
  uint64_t keys_full[kStages];
  uint64_t keys_empty[kStages];
  uint64_t values_full[kStages];
  uint64_t values_empty[kStages];
};

constexpr int kTurnBarrier = 1;  // one for each warpgroup
constexpr int kRowsBarrier = 3;  // likewise
constexpr int kConsumersBarrier = 5;

// Lets this warpgroup start products before the other does.
class Turns {
 public:
  explicit __device__ Turns(int warpgroup) : warpgroup_(warpgroup) {
    if (warpgroup_ == 1) Pass();
  }
  __device__ void Await() const {
    NamedSync(kTurnBarrier + warpgroup_, kConsumers);
  }
  __device__ void Pass() const {
    NamedArrive(kTurnBarrier + 1 - warpgroup_, kConsumers);
  }

 private:
  const int warpgroup_;
};

// Which of the tiles' places comes next, and how often it has been used. The
// loading warp and the consumers count alike.
class TileTurn {
 public:
  __device__ int stage() const { return stage_; }
  __device__ uint32_t phase() const { return phase_; }
  __device__ void Advance() {
    if (++stage_ < kStages) return;
    stage_ = 0;
    phase_ ^= 1;
  }

 private:
  int stage_ = 0;
  uint32_t phase_ = 0;
};

// The loading warp. Keys past the split's end are whatever memory holds.
template <typename T, int kHeadDim>
__device__ void LoadTiles(const CUtensorMap& key_map,
                          const CUtensorMap& value_map,
                          const PagedAttentionArgs<T>& args,
                          const RowBlock& rows, const KeySplit& split,
                          TileTurn& turn, Shared<kHeadDim>& shared) {
  constexpr int kHalves = kHeadDim / kHalf;
  constexpr int kCopies = kKeys / kKvBlockSize * kHalves;  // lanes that copy
  const CacheReader<T> cache(args, rows.sequence, rows.kv_head);
  const int lane = threadIdx.x % 32;
  const int block = lane / kHalves;  // of the tile's
  const int half = lane % kHalves;
  const int32_t last_block = (split.end - 1) / kKvBlockSize;
  const auto copy = [&](const CUtensorMap& map, int32_t row, Barrier full,
                        QueryOrKvTile<kHeadDim>& tile) {
    if (lane == 0) full.ArriveExpecting(sizeof(tile.bytes));
    __syncwarp();
    if (lane >= kCopies) return;
    StartBoxCopy(SharedAddress(tile.bytes) + half * kHalfBytes +
                     block * kKvBlockSize * 128,
                 map, full, row, half);
  };
  for (int32_t begin = split.begin; begin < split.end; begin += kKeys) {
    const int stage = turn.stage();
    const int32_t row =
        (cache.BlockAt(min(begin / kKvBlockSize + block, last_block)) *
             args.num_kv_heads +
         rows.kv_head) *
        kKvBlockSize;
    Barrier(&shared.keys_empty[stage]).Wait(turn.phase() ^ 1);
    copy(key_map, row, Barrier(&shared.keys_full[stage]), shared.keys[stage]);
    Barrier(&shared.values_empty[stage]).Wait(turn.phase() ^ 1);
    copy(value_map, row, Barrier(&shared.values_full[stage]),
         shared.values[stage]);
    turn.Advance();
  }
}

// This warpgroup's 64 rows.
template <typename T, int kHeadDim>
__device__ void LoadQueries(const PagedAttentionArgs<T>& args,
                            const RowBlock& rows, int warpgroup,
                            QueryOrKvTile<kHeadDim>& tile) {
  constexpr int kChunks = kHeadDim / 8;
  // All have done with the last item's.
  NamedSync(kRowsBarrier + warpgroup, 128);
#pragma unroll
  for (int i = 0; i < 64 * kChunks / 128; ++i) {
    const int index = 128 * i + threadIdx.x % 128;
    const int row = 64 * warpgroup + index / kChunks;
    const int chunk = index % kChunks;
    uint4 value = {};
    if (rows.IsRow(row)) {
      value = *reinterpret_cast<const uint4*>(
          args.q + rows.Offset(row, args.q_stride, kHeadDim) + chunk * 8);
    }
    *tile.At(row, chunk) = value;
  }
  PublishShared();
  NamedSync(kRowsBarrier + warpgroup, 128);
}

// Zeros for the values past num_keys, since whatever memory holds there must
// not reach a product. All consumers.
template <int kHeadDim>
__device__ void ClearValues(int32_t num_keys, QueryOrKvTile<kHeadDim>& tile) {
  constexpr int kChunks = kHeadDim / 8;
  for (int i = num_keys * kChunks + threadIdx.x; i < kKeys * kChunks;
       i += kConsumers) {
    *tile.At(i / kChunks, i % kChunks) = uint4{};
  }
  PublishShared();
  NamedSync(kConsumersBarrier, kConsumers);
}

// A warpgroup's walk over the tiles of one split after the other.
template <typename T, int kHeadDim>
class TileWalk {
 public:
  __device__ TileWalk(Shared<kHeadDim>& shared, int warpgroup)
      : shared_(shared),
        queries_(SwizzledFactor(SharedAddress(shared.queries.bytes) +
                                warpgroup * 64 * 128)),
        turns_(warpgroup) {}

  __device__ void Run(const KeySplit& split, const Visibility& visibility,
                      float scale, RowState<kHeadDim>& state) {
    float scores[kKeys / 8][4];
    float rescale[2];
    uint32_t weights[kKeys / 16][4];
    turns_.Await();
    StartScores(turn_, scores);
    turns_.Pass();
    AwaitScores<0>(turn_, scores);
    Mask<kKeys>(visibility, split.begin, scores);
    Weigh<kKeys>(scores, scale, state.softmax, rescale);
    Pack(scores, weights);
    const int32_t num_tiles = (split.end - split.begin + kKeys - 1) / kKeys;
    for (int32_t tile = 1; tile < num_tiles; ++tile) {
      const TileTurn last = turn_;
      turn_.Advance();
      turns_.Await();
      StartScores(turn_, scores);
      StartValues(last, weights, state);
      turns_.Pass();
      AwaitScores<1>(turn_, scores);
      Mask<kKeys>(visibility, split.begin + tile * kKeys, scores);
      Weigh<kKeys>(scores, scale, state.softmax, rescale);
      AwaitValues(last, state);
      Rescale(state.acc, rescale);
      Pack(scores, weights);
    }
    Barrier(&shared_.values_full[turn_.stage()]).Wait(turn_.phase());
    const int32_t num_keys = split.end - split.begin - (num_tiles - 1) * kKeys;
    if (num_keys < kKeys) ClearValues(num_keys, shared_.values[turn_.stage()]);
    StartValues(turn_, weights, state);
    AwaitValues(turn_, state);
    turn_.Advance();
  }

 private:
  __device__ void StartScores(const TileTurn& tile,
                              float (&scores)[kKeys / 8][4]) {
    Barrier(&shared_.keys_full[tile.stage()]).Wait(tile.phase());
    const uint64_t keys =
        SwizzledFactor(SharedAddress(shared_.keys[tile.stage()].bytes));
    HoldSums(scores);
    BeginProducts();
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      const uint64_t offset = k / 4 * (kHalfBytes >> 4) + k % 4 * 2;
      Multiply(T{}, queries_ + offset, keys + offset, k > 0, scores);
    }
    EndProducts();
  }

  template <int kPending>
  __device__ void AwaitScores(const TileTurn& tile,
                              float (&scores)[kKeys / 8][4]) {
    AwaitProducts<kPending>();
    HoldSums(scores);
    Release(&shared_.keys_empty[tile.stage()]);
  }

  __device__ void StartValues(const TileTurn& tile,
                              const uint32_t (&weights)[kKeys / 16][4],
                              RowState<kHeadDim>& state) {
    Barrier(&shared_.values_full[tile.stage()]).Wait(tile.phase());
    const uint64_t values = SwizzledColumns(
        SharedAddress(shared_.values[tile.stage()].bytes), kHalfBytes);
    HoldSums(state.acc);
    BeginProducts();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      AddProduct(T{}, weights[k], values + k * (16 * 128 >> 4), state.acc);
    }
    EndProducts();
  }

  __device__ void AwaitValues(const TileTurn& tile, RowState<kHeadDim>& state) {
    AwaitProducts<0>();
    HoldSums(state.acc);
    Release(&shared_.values_empty[tile.stage()]);
  }

  static __device__ void Release(uint64_t* empty) {
    if (threadIdx.x % 32 == 0) Barrier(empty).Arrive();
  }

  static __device__ void Pack(const float (&scores)[kKeys / 8][4],
                              uint32_t (&weights)[kKeys / 16][4]) {
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      PackWeights<T>(scores, k, weights[k]);
    }
  }

  Shared<kHeadDim>& shared_;
  const uint64_t queries_;
  const Turns turns_;
  TileTurn turn_;
};

template <typename T, int kHeadDim>
__device__ void Consume(const PagedAttentionArgs<T>& args, const RowBlock& rows,
                        const KeySplit& split, int warpgroup,
                        TileWalk<T, kHeadDim>& walk, Shared<kHeadDim>& shared) {
  const int warp_row = threadIdx.x / 32 * 16;
  RowState<kHeadDim> state;
  if (split.begin < split.end) {
    LoadQueries(args, rows, warpgroup, shared.queries);
    walk.Run(split, FindVisibility(rows, warp_row, args.window),
             args.scale * kLog2E, state);
  }
  if (split.count == 1) {
    if (split.index == 0) StoreRows(args, rows, warp_row, state);
    return;
  }
  NamedSync(kConsumersBarrier, kConsumers);  // all have read their tiles
  StorePartials(state, 16, shared.partials + warp_row);
  AwaitCluster();  // all have stored
  if (split.index < split.count) {
    StoreJoined<kHeadDim>(args, rows, split, kRows, kWarps, shared.partials);
  }
  __syncwarp();
  AwaitCluster();  // all have read
}

template <int kHeadDim>
__device__ void InitBarriers(Shared<kHeadDim>& shared) {
  for (int stage = 0; stage < kStages; ++stage) {
    Barrier(&shared.keys_full[stage]).Init(1);
    Barrier(&shared.keys_empty[stage]).Init(kWarps);
    Barrier(&shared.values_full[stage]).Init(1);
    Barrier(&shared.values_empty[stage]).Init(kWarps);
  }
  PublishBarriers();
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

// What an aligned Shared needs.
template <int kHeadDim>
constexpr size_t kSharedBytes = 5 * kKeys* kHeadDim * 2 + 2048;

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, 1)
    Sm90PrefillKernel(const __grid_constant__ CUtensorMap key_map,
                      const __grid_constant__ CUtensorMap value_map,
                      const PagedAttentionArgs<T> args, const RowItems items,
                      int32_t num_splits) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<kHeadDim>*>(
      memory + (1024 - SharedAddress(memory) % 1024) % 1024);
  static_assert(sizeof(shared) + 1024 <= kSharedBytes<kHeadDim>);
  if (threadIdx.x == 0) InitBarriers(shared);
  __syncthreads();
  LetNextKernelStart();
  WaitForInputs();
  const auto for_items = [&](auto function) {
    const auto step = static_cast<int32_t>(gridDim.x) / num_splits;
    for (int32_t item = static_cast<int32_t>(blockIdx.x) / num_splits;
         item < items.count(); item += step) {
      const RowBlock rows = items.Find<kRows>(args, item);
      if (rows.first_row >= rows.num_rows) continue;
      function(rows, FindKeySplit<kRows, kKeys>(args, rows, num_splits,
                                                kMinSplitTiles));
    }
  };
  if (threadIdx.x >= kConsumers) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x >= kConsumers + 32) return;
    TileTurn turn;
    for_items([&](const RowBlock& rows, const KeySplit& split) {
      LoadTiles<T>(key_map, value_map, args, rows, split, turn, shared);
    });
    return;
  }
  asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
  const int warpgroup = __shfl_sync(kAllLanes, threadIdx.x / 128, 0);
  TileWalk<T, kHeadDim> walk(shared, warpgroup);
  for_items([&](const RowBlock& rows, const KeySplit& split) {
    Consume(args, rows, split, warpgroup, walk, shared);
  });
#else
  __trap();  // built for a Hopper without its own instructions
#endif
}

// Of all blocks: their number is not known here, nor needed.
template <typename T>
CUtensorMap CacheMap(const PagedAttentionArgs<T>& args, const T* cache) {
  constexpr uint64_t kManyRows = uint64_t{1} << 31;
  const auto head_dim = static_cast<uint64_t>(args.head_dim);
  return EncodeTensorMap<3>(cache, {kHalf, kManyRows, head_dim / kHalf},
                            {head_dim * 2, kHalf * 2},
                            {kHalf, kKvBlockSize, 1});
}

template <typename T, int kHeadDim>
void LaunchPrefill(const PagedAttentionArgs<T>& args, int32_t max_queries,
                   CudaStream stream) {
  static thread_local const ClusterRoom room = [] {
    AllowSharedMemory(Sm90PrefillKernel<T, kHeadDim>, kSharedBytes<kHeadDim>);
    return FindClusterRoom(
        Sm90PrefillKernel<T, kHeadDim>,
        {.block = kThreads, .shared_bytes = kSharedBytes<kHeadDim>});
  }();
  const RowItems items = CountRowItems<kRows>(args, max_queries);
  const int32_t num_splits = ChooseKeySplits(items.count(), room);
  // Members of a cluster keep their partial results where tiles were, so there
  // each has one item.
  const int32_t blocks = num_splits == 1 ? std::min(items.count(), room[0])
                                         : items.count() * num_splits;
  Launch(Sm90PrefillKernel<T, kHeadDim>,
         {.grid = dim3(static_cast<uint32_t>(blocks)),
          .block = kThreads,
          .shared_bytes = kSharedBytes<kHeadDim>,
          .cluster = static_cast<uint32_t>(num_splits)},
         stream, CacheMap(args, args.k_cache), CacheMap(args, args.v_cache),
         args, items, num_splits);
}

}  // namespace

bool Sm90PrefillSupported() { return TensorMapsSupported(); }

template <typename T>
void Sm90PrefillAttention(const PagedAttentionArgs<T>& args,
                          int32_t max_queries, CudaStream stream) {
  if constexpr (sizeof(T) == 2) {
    if (args.head_dim == 64) {
      return LaunchPrefill<T, 64>(args, max_queries, stream);
    }
    LaunchPrefill<T, 128>(args, max_queries, stream);
  }
}

template <typename T>
void PrefillAttention(const PagedAttentionArgs<T>& args, int32_t max_queries,
                      CudaStream stream) {
  if (Sm90PrefillSupported()) {
    return Sm90PrefillAttention(args, max_queries, stream);
  }
  Sm80PrefillAttention(args, max_queries, stream);
}

#define DROVER_INSTANTIATE(T)                                               \
  template void Sm90PrefillAttention(const PagedAttentionArgs<T>&, int32_t, \
                                     CudaStream);                           \
  template void PrefillAttention(const PagedAttentionArgs<T>&, int32_t,     \
                                 CudaStream);
DROVER_INSTANTIATE(float)
DROVER_INSTANTIATE(Float16)
DROVER_INSTANTIATE(BFloat16)
#undef DROVER_INSTANTIATE

}  // namespace drover::kernels::cuda
