#include <cuda.h>

#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/attention_args.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mbarrier.cuh"
#include "model/kernels/cuda/mma.cuh"
#include "model/kernels/cuda/named_barrier.cuh"
#include "model/kernels/cuda/prefill_rows.cuh"
#include "model/kernels/cuda/prefill_work.cuh"
#include "model/kernels/cuda/tensor_map.h"
#include "model/kernels/cuda/wgmma.cuh"

// Many queries per sequence on Hopper's tensor cores, after Shah et al.,
// "FlashAttention-3" (2024). A thread block takes 128 rows and walks over tiles
// of 128 keys. One warp brings queries and tiles in, a KV block at a time; two
// warpgroups have 64 rows each. A warpgroup starts the scores of a tile and the
// values of the one before, and works on the scores while the values are added.
// The two take turns in starting, so that one's softmax is beside the other's
// products.
//
// A block goes from piece to piece (prefill_work.cuh), the loading warp ahead
// of the others. Of an item that several blocks share, each leaves what it has
// found, and the last to do so joins it all.

namespace drover::kernels::cuda {
namespace {

constexpr int kWarpgroups = 2;
constexpr int kWarps = 4 * kWarpgroups;     // that have rows
constexpr int kConsumers = 32 * kWarps;     // threads
constexpr int kThreads = kConsumers + 128;  // with the loading warp's group
constexpr int kRows = 64 * kWarpgroups;
constexpr int kKeys = 128;
constexpr int kHalf = 64;  // of a head's dimensions: a row of 128 bytes
constexpr int kGroup = 8;  // rows that are swizzled together
constexpr int kQueryStages = 2;
constexpr int kKeyStages = 2;
constexpr int kValueStages = 3;  // they are given back after the softmax

// What is found of an item's rows by one of several thread blocks: of each
// thread its sums, and its rows' maxima and sums of weights.
template <int kHeadDim>
constexpr int kPartVectors = (kHeadDim / 8 + 1) * kConsumers;

// What tensor copies need to know of the arrays.
struct PrefillMaps {
  CUtensorMap queries;
  CUtensorMap keys;
  CUtensorMap values;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Half by half.
template <int kHeadDim>
struct alignas(1024) QueryTile {
  static constexpr uint32_t kHalfBytes = kRows * kHalf * 2;
  unsigned char bytes[kRows * kHeadDim * 2];

  // The sixteen bytes of 8 dimensions.
  __device__ uint4* At(int row, int chunk) {
    return reinterpret_cast<uint4*>(bytes + chunk / 8 * kHalfBytes + row * 128 +
                                    ((chunk % 8) ^ (row % 8)) * 16);
  }
};

// Of keys or values: groups of eight rows, these half by half, so that a KV
// block is one tensor copy.
template <int kHeadDim>
struct alignas(1024) KvTile {
  static constexpr uint32_t kHalfBytes = kGroup * kHalf * 2;
  static constexpr uint32_t kGroupBytes = kGroup * kHeadDim * 2;
  static constexpr uint32_t kBlockBytes = kKvBlockSize * kHeadDim * 2;
  unsigned char bytes[kKeys * kHeadDim * 2];

  __device__ uint4* At(int row, int chunk) {
    return reinterpret_cast<uint4*>(
        bytes + row / kGroup * kGroupBytes + chunk / 8 * kHalfBytes +
        row % kGroup * 128 + ((chunk % 8) ^ (row % 8)) * 16);
  }
};

// Of places that the loading warp fills and consumers empty.
template <int kStages>
struct RingBarriers {
  uint64_t full[kStages];
  uint64_t empty[kStages];

  __device__ void Init() {
    for (int stage = 0; stage < kStages; ++stage) {
      Barrier(&full[stage]).Init(1);
      Barrier(&empty[stage]).Init(kWarps);
    }
  }
};

template <int kHeadDim>
struct Shared {
  QueryTile<kHeadDim> queries[kQueryStages];
  KvTile<kHeadDim> keys[kKeyStages];
  KvTile<kHeadDim> values[kValueStages];
  RingBarriers<kQueryStages> query_barriers;
  RingBarriers<kKeyStages> key_barriers;
  RingBarriers<kValueStages> value_barriers;
  Division division;
  int32_t num_done[kWarpgroups];
  float pins[kWarps];
};

constexpr int kTurnBarrier = 1;  // one for each warpgroup
constexpr int kRowsBarrier = 3;  // likewise

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

// Which of a ring's places comes next, and how often it has been used. The
// loading warp and the consumers count alike.
template <int kStages>
class RingTurn {
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

// The loading warp's.
template <typename T, int kHeadDim>
class Loader {
 public:
  __device__ Loader(const PrefillMaps& maps, const PagedAttentionArgs<T>& args,
                    Shared<kHeadDim>& shared)
      : maps_(maps), args_(args), shared_(shared) {}

  // Rows past the piece's are those of tokens after it, or anything. Keys past
  // its end are zeros, but in its last KV block what memory holds.
  __device__ void Load(const Piece& piece, const RowItems& items) {
    LoadQueries(piece.rows, items.tokens_per_block * items.group);
    if (piece.keys.begin < piece.keys.end) LoadTiles(piece);
  }

 private:
  __device__ void LoadQueries(const RowBlock& rows, int32_t rows_per_block) {
    constexpr int kHalves = kHeadDim / kHalf;
    const int lane = threadIdx.x % 32;
    const int stage = query_turn_.stage();
    QueryTile<kHeadDim>& tile = shared_.queries[stage];
    const Barrier full(&shared_.query_barriers.full[stage]);
    Barrier(&shared_.query_barriers.empty[stage]).Wait(query_turn_.phase() ^ 1);
    if (lane == 0) full.ArriveExpecting(rows_per_block * kHeadDim * 2);
    __syncwarp();
    if (lane < kHalves) {
      StartBoxCopy(SharedAddress(tile.bytes) + lane * tile.kHalfBytes,
                   maps_.queries, full, rows.kv_head * rows.group,
                   rows.Token(0), lane);
    }
    query_turn_.Advance();
  }

  __device__ void LoadTiles(const Piece& piece) {
    constexpr int32_t kBlockGroups = kKvBlockSize / kGroup;
    const CacheReader<T> cache(args_, piece.rows.sequence, piece.rows.kv_head);
    const int lane = threadIdx.x % 32;
    const int32_t last_block = (piece.keys.end - 1) / kKvBlockSize;
    for (int32_t begin = piece.keys.begin; begin < piece.keys.end;
         begin += kKeys) {
      const int32_t index = begin / kKvBlockSize + lane;
      // What lies before all groups is filled with zeros.
      int32_t group = -kBlockGroups;
      if (index <= last_block) {
        group =
            (cache.BlockAt(index) * args_.num_kv_heads + piece.rows.kv_head) *
            kBlockGroups;
      }
      Load(maps_.keys, group, shared_.key_barriers, key_turn_, shared_.keys);
      Load(maps_.values, group, shared_.value_barriers, value_turn_,
           shared_.values);
    }
  }

  // A lane a KV block, whose first group of rows is `group` in memory.
  template <int kStages>
  __device__ void Load(const CUtensorMap& map, int32_t group,
                       RingBarriers<kStages>& barriers, RingTurn<kStages>& turn,
                       KvTile<kHeadDim> (&tiles)[kStages]) {
    const int lane = threadIdx.x % 32;
    const Barrier full(&barriers.full[turn.stage()]);
    KvTile<kHeadDim>& tile = tiles[turn.stage()];
    Barrier(&barriers.empty[turn.stage()]).Wait(turn.phase() ^ 1);
    if (lane == 0) full.ArriveExpecting(sizeof(tile.bytes));
    __syncwarp();
    if (lane < kKeys / kKvBlockSize) {
      StartBoxCopy(SharedAddress(tile.bytes) + lane * tile.kBlockBytes, map,
                   full, 0, 0, group);
    }
    turn.Advance();
  }

  const PrefillMaps& maps_;
  const PagedAttentionArgs<T>& args_;
  Shared<kHeadDim>& shared_;
  RingTurn<kQueryStages> query_turn_;
  RingTurn<kKeyStages> key_turn_;
  RingTurn<kValueStages> value_turn_;
};

// A warp has done with a place.
__device__ void Release(uint64_t* empty) {
  if (threadIdx.x % 32 == 0) Barrier(empty).Arrive();
}

// Zeros for the values past num_keys in their KV block, since whatever memory
// holds there must not reach a product. Each warpgroup does it for itself.
template <int kHeadDim>
__device__ void ClearValues(int32_t num_keys, int warpgroup,
                            KvTile<kHeadDim>& tile) {
  constexpr int kChunks = kHeadDim / 8;
  const int32_t end =
      (num_keys + kKvBlockSize - 1) / kKvBlockSize * kKvBlockSize;
  for (int i = num_keys * kChunks + threadIdx.x % 128; i < end * kChunks;
       i += 128) {
    *tile.At(i / kChunks, i % kChunks) = uint4{};
  }
  PublishShared();
  NamedSync(kRowsBarrier + warpgroup, 128);
}

// A warpgroup's walk over the tiles of one piece after the other.
template <typename T, int kHeadDim>
class TileWalk {
 public:
  __device__ TileWalk(Shared<kHeadDim>& shared, int warpgroup)
      : shared_(shared), warpgroup_(warpgroup), turns_(warpgroup) {}

  // queries: a tile of them.
  __device__ void Run(const QueryTile<kHeadDim>& queries, const KeyRange& keys,
                      const Visibility& visibility, float scale,
                      RowState<kHeadDim>& state) {
    const uint64_t rows =
        SwizzledFactor(SharedAddress(queries.bytes) + warpgroup_ * 64 * 128);
    float scores[kKeys / 8][4];
    float rescale[2];
    uint32_t weights[kKeys / 16][4];
    turns_.Await();
    StartScores(rows, scores);
    turns_.Pass();
    AwaitScores<0>(scores);
    Mask<kKeys>(visibility, keys.begin, scores);
    Weigh<kKeys>(scores, scale, state.softmax, rescale);
    Pack(scores, weights);
    const int32_t num_tiles = (keys.end - keys.begin + kKeys - 1) / kKeys;
    for (int32_t tile = 1; tile < num_tiles; ++tile) {
      key_turn_.Advance();
      turns_.Await();
      StartScores(rows, scores);
      AwaitTile();
      StartValues(weights, state);
      turns_.Pass();
      AwaitScores<1>(scores);
      Mask<kKeys>(visibility, keys.begin + tile * kKeys, scores);
      Weigh<kKeys>(scores, scale, state.softmax, rescale);
      PinBefore(&shared_.pins[threadIdx.x / 32],
                state.softmax.sum[0] + state.softmax.sum[1]);
      AwaitValues(state);
      Rescale(state.acc, rescale);
      Pack(scores, weights);
    }
    key_turn_.Advance();
    AwaitTile();
    const int32_t num_keys = keys.end - keys.begin - (num_tiles - 1) * kKeys;
    if (num_keys % kKvBlockSize != 0) {
      ClearValues(num_keys, warpgroup_, shared_.values[value_turn_.stage()]);
    }
    StartValues(weights, state);
    AwaitValues(state);
  }

 private:
  using Tile = KvTile<kHeadDim>;

  __device__ void StartScores(uint64_t rows, float (&scores)[kKeys / 8][4]) {
    const int stage = key_turn_.stage();
    Barrier(&shared_.key_barriers.full[stage]).Wait(key_turn_.phase());
    const uint64_t keys = SwizzledFactor(
        SharedAddress(shared_.keys[stage].bytes), Tile::kGroupBytes);
    HoldSums(scores);
    BeginProducts();
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      const uint64_t half = k / 4;
      const uint64_t in_half = k % 4 * 2;
      Multiply(T{},
               rows + half * (QueryTile<kHeadDim>::kHalfBytes >> 4) + in_half,
               keys + half * (Tile::kHalfBytes >> 4) + in_half, k > 0, scores);
    }
    EndProducts();
  }

  template <int kPending>
  __device__ void AwaitScores(float (&scores)[kKeys / 8][4]) {
    AwaitProducts<kPending>();
    HoldSums(scores);
    Release(&shared_.key_barriers.empty[key_turn_.stage()]);
  }

  // Of values.
  __device__ void AwaitTile() {
    Barrier(&shared_.value_barriers.full[value_turn_.stage()])
        .Wait(value_turn_.phase());
  }

  __device__ void StartValues(const uint32_t (&weights)[kKeys / 16][4],
                              RowState<kHeadDim>& state) {
    const uint64_t values =
        SwizzledRows(SharedAddress(shared_.values[value_turn_.stage()].bytes),
                     Tile::kHalfBytes, Tile::kGroupBytes);
    HoldSums(state.acc);
    BeginProducts();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      AddProduct(T{}, weights[k], values + k * (2 * Tile::kGroupBytes >> 4),
                 state.acc);
    }
    EndProducts();
  }

  __device__ void AwaitValues(RowState<kHeadDim>& state) {
    AwaitProducts<0>();
    HoldSums(state.acc);
    Release(&shared_.value_barriers.empty[value_turn_.stage()]);
    value_turn_.Advance();
  }

  static __device__ void Pack(const float (&scores)[kKeys / 8][4],
                              uint32_t (&weights)[kKeys / 16][4]) {
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      PackWeights<T>(scores, k, weights[k]);
    }
  }

  Shared<kHeadDim>& shared_;
  const int warpgroup_;
  const Turns turns_;
  RingTurn<kKeyStages> key_turn_;
  RingTurn<kValueStages> value_turn_;
};

// A warp's 16 rows, from warp_row on: through the tile, which nobody reads any
// longer, so that they leave 16 bytes a thread.
template <typename T, int kHeadDim>
__device__ void StoreThroughTile(const PagedAttentionArgs<T>& args,
                                 const RowBlock& rows, int warp_row,
                                 const RowState<kHeadDim>& state,
                                 QueryTile<kHeadDim>& tile) {
  constexpr int kChunks = kHeadDim / 8;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = SumOfRow(state.softmax.sum[r]);
    const float inverse = sum != 0.0f ? 1.0f / sum : 0.0f;
#pragma unroll
    for (int d = 0; d < kChunks; ++d) {
      auto* const chunk =
          reinterpret_cast<uint32_t*>(tile.At(warp_row + lane / 4 + 8 * r, d));
      chunk[lane % 4] = PackPair<T>(state.acc[d][2 * r] * inverse,
                                    state.acc[d][2 * r + 1] * inverse);
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 16 * kChunks / 32; ++i) {
    const int row = warp_row + (32 * i + lane) / kChunks;
    const int chunk = lane % kChunks;
    if (!rows.IsRow(row)) continue;
    T* const out =
        args.out +
        rows.Offset(row, int64_t{args.num_heads} * kHeadDim, kHeadDim) +
        8 * chunk;
    *reinterpret_cast<uint4*>(out) = *tile.At(row, chunk);
  }
}

// Where thread blocks leave their parts of items.
class PartStore {
 public:
  explicit __device__ PartStore(void* workspace)
      : num_done_(static_cast<int32_t*>(workspace)),
        parts_(reinterpret_cast<float4*>(num_done_ +
                                         kMaxDividedItems * kWarpgroups)) {}

  template <int kHeadDim>
  __device__ void Store(int32_t part, const RowState<kHeadDim>& state) const {
    float4* const to = At<kHeadDim>(part);
#pragma unroll
    for (int d = 0; d < kHeadDim / 8; ++d) {
      to[d * kConsumers] = {state.acc[d][0], state.acc[d][1], state.acc[d][2],
                            state.acc[d][3]};
    }
    const Softmax& softmax = state.softmax;
    to[kHeadDim / 8 * kConsumers] = {softmax.max[0], softmax.max[1],
                                     softmax.sum[0], softmax.sum[1]};
  }

  // Whether all of the item's parts of this warpgroup have been stored.
  __device__ bool IsLast(const Piece& piece, int warpgroup,
                         int32_t& shared_count) const {
    __threadfence();
    NamedSync(kRowsBarrier + warpgroup, 128);
    int32_t* const num_done = num_done_ + piece.item * kWarpgroups + warpgroup;
    if (threadIdx.x % 128 == 0) {
      __threadfence();  // for all of them
      shared_count = atomicAdd(num_done, 1);
      __threadfence();
    }
    NamedSync(kRowsBarrier + warpgroup, 128);
    if (shared_count != piece.last_block - piece.first_block) return false;
    if (threadIdx.x % 128 == 0) *num_done = 0;
    __threadfence();
    return true;
  }

  // In the order of blocks, whoever does it.
  template <int kHeadDim, typename T>
  __device__ void Join(const Piece& piece, const PrefillWork<T, kKeys>& work,
                       RowState<kHeadDim>& state) const {
    const auto softmax_of = [&](int32_t block) {
      return __ldcg(At<kHeadDim>(work.PlaceOf(piece, block)) +
                    kHeadDim / 8 * kConsumers);
    };
    float max[2] = {-INFINITY, -INFINITY};
    for (int32_t b = piece.first_block; b <= piece.last_block; ++b) {
      const float4 part = softmax_of(b);
      max[0] = fmaxf(max[0], part.x);
      max[1] = fmaxf(max[1], part.y);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (max[r] == -INFINITY) max[r] = 0.0f;
    }
    state = {};
#pragma unroll 2
    for (int32_t b = piece.first_block; b <= piece.last_block; ++b) {
      const float4* const part = At<kHeadDim>(work.PlaceOf(piece, b));
      const float4 softmax = softmax_of(b);
      const float weight[2] = {Exp2(softmax.x - max[0]),
                               Exp2(softmax.y - max[1])};
      state.softmax.sum[0] += weight[0] * softmax.z;
      state.softmax.sum[1] += weight[1] * softmax.w;
#pragma unroll
      for (int d = 0; d < kHeadDim / 8; ++d) {
        const float4 values = __ldcg(part + d * kConsumers);
        state.acc[d][0] += weight[0] * values.x;
        state.acc[d][1] += weight[0] * values.y;
        state.acc[d][2] += weight[1] * values.z;
        state.acc[d][3] += weight[1] * values.w;
      }
    }
  }

 private:
  // This thread's.
  template <int kHeadDim>
  __device__ float4* At(int32_t part) const {
    return parts_ + int64_t{part} * kPartVectors<kHeadDim> + threadIdx.x;
  }

  int32_t* const num_done_;  // [kMaxDividedItems, kWarpgroups]
  float4* const parts_;
};

// A warpgroup's side of one piece after the other.
template <typename T, int kHeadDim>
class Consumer {
 public:
  __device__ Consumer(const PagedAttentionArgs<T>& args,
                      Shared<kHeadDim>& shared, int warpgroup)
      : args_(args),
        shared_(shared),
        warpgroup_(warpgroup),
        walk_(shared, warpgroup) {}

  __device__ void Consume(const Piece& piece, const PrefillWork<T, kKeys>& work,
                          void* workspace) {
    const int warp_row = threadIdx.x / 32 * 16;
    const int stage = turn_.stage();
    QueryTile<kHeadDim>& queries = shared_.queries[stage];
    Barrier(&shared_.query_barriers.full[stage]).Wait(turn_.phase());
    RowState<kHeadDim> state;
    if (piece.keys.begin < piece.keys.end) {
      walk_.Run(queries, piece.keys,
                FindVisibility(piece.rows, warp_row, args_.window),
                args_.scale * kLog2E, state);
    }
    if (piece.is_whole() || Join(piece, work, workspace, state)) {
      NamedSync(kRowsBarrier + warpgroup_, 128);  // all have read their queries
      StoreThroughTile(args_, piece.rows, warp_row, state, queries);
      __syncwarp();
      PublishShared();
    }
    Release(&shared_.query_barriers.empty[stage]);
    turn_.Advance();
  }

 private:
  // Whether `state` is the whole item's now.
  __device__ bool Join(const Piece& piece, const PrefillWork<T, kKeys>& work,
                       void* workspace, RowState<kHeadDim>& state) {
    const PartStore parts(workspace);
    parts.Store(work.PlaceOf(piece, static_cast<int32_t>(blockIdx.x)), state);
    if (!parts.IsLast(piece, warpgroup_, shared_.num_done[warpgroup_])) {
      return false;
    }
    parts.Join(piece, work, state);
    return true;
  }

  const PagedAttentionArgs<T>& args_;
  Shared<kHeadDim>& shared_;
  const int warpgroup_;
  TileWalk<T, kHeadDim> walk_;
  RingTurn<kQueryStages> turn_;
};

template <int kHeadDim>
__device__ void InitBarriers(Shared<kHeadDim>& shared) {
  shared.query_barriers.Init();
  shared.key_barriers.Init();
  shared.value_barriers.Init();
  PublishBarriers();
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

// What an aligned Shared needs.
template <int kHeadDim>
constexpr size_t kSharedBytes = size_t{kQueryStages + kKeyStages +
                                       kValueStages} *
                                    kKeys* kHeadDim * 2 +
                                kMaxDividedItems * sizeof(int32_t) + 1536;

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, 1)
    Sm90PrefillKernel(const __grid_constant__ PrefillMaps maps,
                      const __grid_constant__ PagedAttentionArgs<T> args,
                      const __grid_constant__ RowItems items, bool is_divided,
                      bool next_runs_beside, void* workspace) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<kHeadDim>*>(
      memory + (1024 - SharedAddress(memory) % 1024) % 1024);
  static_assert(sizeof(shared) + 1024 <= kSharedBytes<kHeadDim>);
  if (threadIdx.x == 0) InitBarriers(shared);
  __syncthreads();
  // What runs beside takes it that the kernel in front of this one is complete.
  if (next_runs_beside) WaitForInputs();
  LetNextKernelStart();
  WaitForInputs();
  if (is_divided) PrefillWork<T, kKeys>::Divide(args, items, shared.division);
  PrefillWork<T, kKeys> work(args, items,
                             is_divided ? &shared.division : nullptr);
  Piece piece;
  if (threadIdx.x >= kConsumers) {
    GiveBackRegisters<40>();
    if (threadIdx.x >= kConsumers + 32) return;
    Loader<T, kHeadDim> loader(maps, args, shared);
    while (work.Next(piece)) loader.Load(piece, items);
    return;
  }
  TakeRegisters<232>();
  const int warpgroup = __shfl_sync(kAllLanes, threadIdx.x / 128, 0);
  Consumer<T, kHeadDim> consumer(args, shared, warpgroup);
  while (work.Next(piece)) consumer.Consume(piece, work, workspace);
#else
  __trap();  // built for a Hopper without its own instructions
#endif
}

// Of all KV blocks: their number is not known here, nor needed.
template <typename T>
CUtensorMap CacheMap(const PagedAttentionArgs<T>& args, const T* cache) {
  constexpr uint64_t kManyGroups = uint64_t{1} << 31;
  const auto head_dim = static_cast<uint64_t>(args.head_dim);
  const auto halves = static_cast<uint32_t>(args.head_dim / kHalf);
  return EncodeTensorMap<4>(cache, {kHalf, kGroup, halves, kManyGroups},
                            {head_dim * 2, kHalf * 2, kGroup * head_dim * 2},
                            {kHalf, kGroup, halves, kKvBlockSize / kGroup});
}

template <typename T>
CUtensorMap QueryMap(const PrefillAttentionArgs<T>& args,
                     const RowItems& items) {
  const PagedAttentionArgs<T>& attention = args.attention;
  const auto head_dim = static_cast<uint64_t>(attention.head_dim);
  return EncodeTensorMap<4>(
      attention.q,
      {kHalf, static_cast<uint64_t>(attention.num_heads),
       static_cast<uint64_t>(args.num_tokens), head_dim / kHalf},
      {head_dim * 2, static_cast<uint64_t>(attention.q_stride) * 2, kHalf * 2},
      {kHalf, static_cast<uint32_t>(items.group),
       static_cast<uint32_t>(items.tokens_per_block), 1});
}

template <typename T, int kHeadDim>
void LaunchPrefill(const PrefillAttentionArgs<T>& args, void* workspace,
                   CudaStream stream) {
  static thread_local const bool is_allowed = [] {
    AllowSharedMemory(Sm90PrefillKernel<T, kHeadDim>, kSharedBytes<kHeadDim>);
    return true;
  }();
  static_cast<void>(is_allowed);
  const RowItems items = CountRowItems(args, kRows);
  int32_t blocks = args.next_runs_beside
                       ? BlocksBesideDecodes<kKeys>(
                             args, items, CurrentDevice().num_multiprocessors)
                       : CurrentDevice().num_multiprocessors;
  const bool is_divided = IsDivided(items.count(), blocks);
  if (!is_divided) blocks = std::min(items.count(), blocks);
  Launch(
      Sm90PrefillKernel<T, kHeadDim>,
      {.grid = dim3(static_cast<uint32_t>(blocks)),
       .block = kThreads,
       .shared_bytes = kSharedBytes<kHeadDim>},
      stream,
      PrefillMaps{.queries = QueryMap(args, items),
                  .keys = CacheMap(args.attention, args.attention.k_cache),
                  .values = CacheMap(args.attention, args.attention.v_cache)},
      args.attention, items, is_divided, args.next_runs_beside, workspace);
}

}  // namespace

bool Sm90PrefillSupported() { return TensorMapsSupported(); }

size_t PrefillWorkspaceBytes() {
  if (!Sm90PrefillSupported()) return 0;
  constexpr int kMaxHeadDim = 128;
  return kMaxDividedItems * kWarpgroups * sizeof(int32_t) +
         static_cast<size_t>(CurrentDevice().num_multiprocessors) *
             kPartsPerBlock * kPartVectors<kMaxHeadDim> * sizeof(float4);
}

template <typename T>
void Sm90PrefillAttention(const PrefillAttentionArgs<T>& args, void* workspace,
                          CudaStream stream) {
  if constexpr (sizeof(T) == 2) {
    if (args.attention.head_dim == 64) {
      return LaunchPrefill<T, 64>(args, workspace, stream);
    }
    LaunchPrefill<T, 128>(args, workspace, stream);
  }
}

template <typename T>
void PrefillAttention(const PrefillAttentionArgs<T>& args, void* workspace,
                      CudaStream stream) {
  if (Sm90PrefillSupported()) {
    return Sm90PrefillAttention(args, workspace, stream);
  }
  Sm80PrefillAttention(args, stream);
}

#define DROVER_INSTANTIATE(T)                                               \
  template void Sm90PrefillAttention(const PrefillAttentionArgs<T>&, void*, \
                                     CudaStream);                           \
  template void PrefillAttention(const PrefillAttentionArgs<T>&, void*,     \
                                 CudaStream);
DROVER_INSTANTIATE(float)
DROVER_INSTANTIATE(Float16)
DROVER_INSTANTIATE(BFloat16)
#undef DROVER_INSTANTIATE

}  // namespace drover::kernels::cuda
