#include <algorithm>
#include <array>
#include <cstdint>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/attention_args.cuh"
#include "model/kernels/cuda/cluster.cuh"
#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mma.cuh"
#include "model/kernels/cuda/reduce.cuh"

// One query per sequence: all work is reading keys and values. A thread block
// takes one sequence, key-value head and split of its blocks of keys. Each warp
// has a ring of tiles of its own, one KV block a tile, and a softmax of its
// own over every fourth of them; the query heads of the group are the rows of
// its products. Warps are merged at the end, and then splits: each thread block
// sends what it has of some dimensions to the block that joins these.

namespace drover::kernels::cuda {
namespace {

constexpr int kTileKeys = kKvBlockSize;
constexpr int kRows = 16;
constexpr int32_t kMaxGroup = kRows;
constexpr int32_t kMaxSplits = 8;  // as many blocks as any cluster may have
// One for each multiprocessor of an H100: beside it there is room for the
// matrix-vector product that comes next and fetches its weights meanwhile.
constexpr int32_t kTargetBlocks = 132;

__global__ void EmptyKernel() {}

// Clusters of so many thread blocks that the device has room for, with one
// block on a multiprocessor.
int32_t MaxClusters(int32_t size) {
  static thread_local const std::array<int32_t, kMaxSplits + 1> most = [] {
    const auto shared = static_cast<size_t>(CurrentDevice().max_shared_bytes);
    AllowSharedMemory(EmptyKernel, shared);
    std::array<int32_t, kMaxSplits + 1> clusters = {};
    for (uint32_t i = 1; i < clusters.size(); ++i) {
      clusters[i] =
          i > 1 && CurrentDevice().major >= 9
              ? MaxActiveClusters(
                    EmptyKernel,
                    {.block = 32, .shared_bytes = shared, .cluster = i})
              : CurrentDevice().num_multiprocessors;
    }
    return clusters;
  }();
  return most[static_cast<size_t>(size)];
}

// No more than start beside the product in front, where that costs no more than
// a quarter of them: whoever starts later has none of its keys when that ends.
int32_t NumSplits(int32_t num_seqs, int32_t num_kv_heads) {
  const int32_t pairs = std::max(1, num_seqs * num_kv_heads);
  const int32_t most = std::clamp(kTargetBlocks / pairs, 1, kMaxSplits);
  for (int32_t splits = most; 4 * splits >= 3 * most; --splits) {
    if (pairs <= MaxClusters(splits)) return splits;
  }
  return most;
}

// How a thread block is made up: warps, tiles that each has room for, and such
// blocks on a multiprocessor, as registers allow.
//
// Of few blocks each has two tiles on their way for a warp, and with as many
// splits as there may be, of ten together: as many as fit beside the buffers of
// a matrix-vector product, unless large groups send each other much.
struct FewBlocks {
  static constexpr int kWarps = 4;
  static constexpr int kStages = 2;
  static constexpr int kPerMultiprocessor = 4;
};
struct FewBlocksOfFewTiles {
  static constexpr int kWarps = 5;
  static constexpr int kStages = 2;
  static constexpr int kPerMultiprocessor = 3;
};
struct ManyBlocks {
  static constexpr int kWarps = 4;
  static constexpr int kStages = 1;
  static constexpr int kPerMultiprocessor = 4;
};

struct DecodeWorkspace {
  int32_t* counters = nullptr;  // [num_seqs, num_kv_heads], all zero
  float* partials = nullptr;    // [., splits, group, kPartialSize]
};

// What one thread block does.
struct Split {
  int32_t sequence = 0;
  int32_t kv_head = 0;
  int32_t group = 0;
  int32_t token = 0;
  int32_t position = 0;  // of the query
  KeyRange keys;         // that the query sees
  int32_t index = 0;
  int32_t count = 1;       // splits that have keys
  int32_t first_tile = 0;  // of the sequence's KV blocks
  int32_t num_tiles = 0;

  __device__ bool IsEmpty() const { return index >= count; }
  // Whether the query's own key and value are among its keys.
  __device__ bool HasNewKey() const {
    return num_tiles > 0 && index == count - 1;
  }
  __device__ int32_t FirstHead() const { return kv_head * group; }
};

__device__ __forceinline__ int32_t NumWarps() {
  return static_cast<int32_t>(blockDim.x) / 32;
}

template <typename T>
__device__ Split FindSplit(const PagedAttentionArgs<T>& args,
                           int32_t num_splits) {
  Split split;
  split.index = static_cast<int32_t>(blockIdx.x);
  split.kv_head = static_cast<int32_t>(blockIdx.y);
  split.sequence = static_cast<int32_t>(blockIdx.z);
  split.group = args.num_heads / args.num_kv_heads;
  split.token = args.query_start[split.sequence];
  split.keys = KeysOfQuery(args, split.sequence, split.token);
  split.position = split.keys.end - 1;
  const int32_t first_tile = split.keys.begin / kTileKeys;
  const int32_t num_tiles =
      (split.keys.end + kTileKeys - 1) / kTileKeys - first_tile;
  const int32_t per_split =
      max(NumWarps(), (num_tiles + num_splits - 1) / num_splits);
  split.count = max(1, (num_tiles + per_split - 1) / per_split);
  split.first_tile = first_tile + split.index * per_split;
  split.num_tiles = min(per_split, num_tiles - split.index * per_split);
  return split;
}

template <typename T, int kHeadDim>
struct KvTile {
  Tile<T, kTileKeys, kHeadDim> keys;
  Tile<T, kTileKeys, kHeadDim> values;
};

template <typename T, int kHeadDim, typename Shape>
struct DecodeShared {
  Tile<T, kRows, kHeadDim> queries;
  union {
    KvTile<T, kHeadDim> rings[Shape::kWarps][Shape::kStages];
    alignas(16) float partials[Shape::kWarps][kRows][kPartialSize<kHeadDim>];
  };
  alignas(16) float received[];  // ReceivedPartials
};

// Dimensions that a thread joins at once.
constexpr int kVec = 4;

// What the splits of a sequence and head send each other: `count` of them, each
// joining some dimensions of all. Laid out [split, row, dimension], with
// maximum and sum behind the dimensions, as partials are.
template <int kHeadDim>
struct ReceivedPartials {
  int32_t count = 1;
  int32_t group = 1;

  __host__ __device__ int32_t dims_each() const {
    return (kHeadDim / kVec + count - 1) / count * kVec;
  }
  __host__ __device__ int32_t row_size() const { return dims_each() + kVec; }
  __host__ __device__ int32_t num_floats() const {
    return count * group * row_size();
  }
  __device__ int32_t OwnerOf(int32_t d) const { return d / dims_each(); }
  __device__ int32_t FirstDim(int32_t owner) const {
    return min(owner * dims_each(), kHeadDim);
  }
  // Where `split`'s row is in an owner's memory.
  __device__ int32_t Row(int32_t split, int32_t row) const {
    return (split * group + row) * row_size();
  }
};

// A thread rotates elements [8 c, 8 c + 8) of both halves of a head, c =
// threadIdx.x % kHalfChunks.
template <int kHeadDim>
constexpr int kHalfChunks = kHeadDim / 16;
static_assert(32 % kHalfChunks<64> == 0 && 32 % kHalfChunks<128> == 0,
              "a thread keeps to its chunk");

struct Angles {
  float cos[8];
  float sin[8];
};

template <typename T, int kHeadDim>
__device__ Angles LoadAngles(const RopeAttentionArgs<T>& args,
                             const Split& split) {
  const int64_t first = int64_t{max(0, split.position)} * (kHeadDim / 2) +
                        8 * (threadIdx.x % kHalfChunks<kHeadDim>);
  Angles angles;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    angles.cos[i] = args.cos[first + i];
    angles.sin[i] = args.sin[first + i];
  }
  return angles;
}

template <typename T, int kHeadDim>
__device__ void Rotate(const T* head, const Angles& angles, Vec<T>& low,
                       Vec<T>& high) {
  const int c = threadIdx.x % kHalfChunks<kHeadDim>;
  float a[8];
  float b[8];
  LoadFloats(head + 8 * c, a);
  LoadFloats(head + kHeadDim / 2 + 8 * c, b);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    low.values[i] = FromFloat<T>(a[i] * angles.cos[i] - b[i] * angles.sin[i]);
    high.values[i] = FromFloat<T>(b[i] * angles.cos[i] + a[i] * angles.sin[i]);
  }
}

// The group's rotated queries; rows past the group are zero.
template <typename T, int kHeadDim>
__device__ void PrepareQueries(const RopeAttentionArgs<T>& args,
                               const Split& split, const Angles& angles,
                               Tile<T, kRows, kHeadDim>& tile) {
  constexpr int kChunks = kHalfChunks<kHeadDim>;
  const T* q = args.attention.q + split.token * args.attention.q_stride +
               int64_t{split.FirstHead()} * kHeadDim;
  for (int i = threadIdx.x; i < kRows * kChunks; i += blockDim.x) {
    const int row = i / kChunks;
    const int c = i % kChunks;
    Vec<T> low = {};
    Vec<T> high = {};
    if (row < split.group) {
      Rotate<T, kHeadDim>(q + row * kHeadDim, angles, low, high);
    }
    *tile.At(row, c) = __builtin_bit_cast(uint4, low);
    *tile.At(row, kChunks + c) = __builtin_bit_cast(uint4, high);
  }
}

// Puts the query's own key, rotated, and value into the cache, and into `tile`,
// their block's, unless it is null.
template <typename T, int kHeadDim>
__device__ void AppendKey(const RopeAttentionArgs<T>& args, const Split& split,
                          const Angles& angles, KvTile<T, kHeadDim>* tile) {
  constexpr int kChunks = kHalfChunks<kHeadDim>;
  const PagedAttentionArgs<T>& attention = args.attention;
  const CacheReader<T> cache(attention, split.sequence, split.kv_head);
  const int64_t offset = cache.Offset(split.position) +
                         int64_t{split.kv_head} * kKvBlockSize * kHeadDim;
  const T* k = attention.q + split.token * attention.q_stride +
               int64_t{attention.num_heads + split.kv_head} * kHeadDim;
  const T* v = k + int64_t{attention.num_kv_heads} * kHeadDim;
  const int row = split.position % kTileKeys;
  const auto store_key = [&](int chunk, const Vec<T>& key) {
    StoreGlobal(args.k_cache + offset + 8 * chunk, key);
    if (tile != nullptr) {
      *tile->keys.At(row, chunk) = __builtin_bit_cast(uint4, key);
    }
  };
  // The warp that has the fewest queries to prepare.
  const int i = static_cast<int>(threadIdx.x) - (NumWarps() - 1) * 32;
  if (i < 0) return;
  if (i < kChunks) {
    Vec<T> low;
    Vec<T> high;
    Rotate<T, kHeadDim>(k, angles, low, high);
    store_key(i, low);
    store_key(kChunks + i, high);
  } else if (i < 3 * kChunks) {
    const int chunk = i - kChunks;
    const Vec<T> value = LoadVec(v + 8 * chunk);
    StoreGlobal(args.v_cache + offset + 8 * chunk, value);
    if (tile != nullptr) {
      *tile->values.At(row, chunk) = __builtin_bit_cast(uint4, value);
    }
  }
}

// Starts bringing a KV block's keys or values in, a group of copies; zeros past
// num_keys, since whatever memory holds there must not reach a product. Row
// `skipped` is left alone. A warp's.
template <typename T, int kHeadDim>
__device__ void StartRows(const T* block, int32_t num_keys, int32_t skipped,
                          Tile<T, kTileKeys, kHeadDim>& tile) {
  constexpr int kChunks = kHeadDim / 8;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kTileKeys * kChunks / 32; ++i) {
    const int row = (32 * i + lane) / kChunks;
    const int chunk = (32 * i + lane) % kChunks;
    if (row == skipped) continue;
    StartCopy(tile.At(row, chunk), block + row * kHeadDim + 8 * chunk,
              row < num_keys);
  }
}

// One warp's walk over its tiles of the split: all warps take turns. The next
// keys come while values are added, and the next values while scores are.
template <typename T, int kHeadDim, int kStages>
class TileWalk {
 public:
  using Queries = Tile<T, kRows, kHeadDim>;

  __device__ TileWalk(const PagedAttentionArgs<T>& args, const Split& split,
                      KvTile<T, kHeadDim>* ring)
      : cache_(args, split.sequence, split.kv_head),
        split_(split),
        ring_(ring),
        next_(threadIdx.x / 32),
        next_block_(BlockAt(next_)) {}

  // All but the newest key, which nobody has written yet: AppendKey does.
  __device__ void Start() {
#pragma unroll
    for (int stage = 0; stage < kStages; ++stage) {
      StartKeys(stage, /*has_newest=*/false);
      StartValues(stage, /*has_newest=*/false);
    }
  }

  // Once the queries and the newest key are there.
  __device__ void Run(Queries& queries, float scale,
                      RowState<kHeadDim>& state) {
    const int lane = threadIdx.x % 32;
    int stage = 0;
    for (int32_t i = threadIdx.x / 32; i < split_.num_tiles; i += NumWarps()) {
      AwaitCopies<kOthers>();
      __syncwarp();
      KvTile<T, kHeadDim>& tile = ring_[stage];
      float scores[kTileKeys / 8][4] = {};
#pragma unroll
      for (int k = 0; k < kHeadDim / 16; ++k) {
        uint32_t q[4];
        LoadMatrices(queries.At(lane % 16, 2 * k + lane / 16), q);
        AddScores<T, kTileKeys>(q, k, tile.keys, scores);
      }
      __syncwarp();
      StartKeys(stage, /*has_newest=*/true);
      Mask((split_.first_tile + i) * kTileKeys, scores);
      float rescale[2];
      Weigh<kTileKeys>(scores, scale, state.softmax, rescale);
      Rescale(state.acc, rescale);
      AwaitCopies<kOthers>();
      __syncwarp();
      AddValues<T, kHeadDim, kTileKeys>(scores, tile.values, state);
      __syncwarp();
      StartValues(stage, /*has_newest=*/true);
      stage = (stage + 1) % kStages;
    }
    AwaitCopies<0>();
  }

 private:
  // Groups of copies on their way behind the one that is needed.
  static constexpr int kOthers = 2 * kStages - 1;

  // Of the next tile; then its values, and the one after it is next.
  __device__ void StartKeys(int stage, bool has_newest) {
    StartNext(cache_.keys(), has_newest, ring_[stage].keys);
  }
  __device__ void StartValues(int stage, bool has_newest) {
    StartNext(cache_.values(), has_newest, ring_[stage].values);
    next_ += NumWarps();
    next_block_ = BlockAt(next_);
  }
  __device__ void StartNext(const T* rows, bool has_newest,
                            Tile<T, kTileKeys, kHeadDim>& tile) {
    if (next_ < split_.num_tiles) {
      const int32_t first_key = (split_.first_tile + next_) * kTileKeys;
      StartRows(rows + cache_.OffsetOfBlock(next_block_),
                split_.keys.end - first_key,
                has_newest ? -1 : split_.position - first_key, tile);
    }
    EndCopies();
  }

  // Of the split's tiles; asked for one round before it is needed.
  __device__ int32_t BlockAt(int32_t tile) const {
    return tile < split_.num_tiles ? cache_.BlockAt(split_.first_tile + tile)
                                   : 0;
  }

  __device__ void Mask(int32_t first_key,
                       float (&scores)[kTileKeys / 8][4]) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < kTileKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int32_t key = first_key + 8 * n + lane % 4 * 2 + i % 2;
        const bool visible = key >= split_.keys.begin && key < split_.keys.end;
        scores[n][i] = visible ? scores[n][i] : -INFINITY;
      }
    }
  }

  const CacheReader<T> cache_;
  const Split& split_;
  KvTile<T, kHeadDim>* const ring_;
  int32_t next_;
  int32_t next_block_;
};

// Four elements to global memory, in one access (see StoreGlobal).
template <typename T>
__device__ __forceinline__ void StoreFour(T* to, const float4& from) {
  asm volatile(
      "st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)),
      "r"(Pack<T>(from.x, from.y)), "r"(Pack<T>(from.z, from.w))
      : "memory");
}

// Joins up to kMaxPartials softmaxes: load(i, row, column) reads kVec floats of
// the i-th, maximum and sum first at stats_column. Calls store(row, d, means,
// stats) for each kVec of num_dims dimensions, stats being the whole's. Each
// thread weighs the softmaxes anew: that is sooner done than told.
template <int kMaxPartials, typename Load, typename Store>
__device__ void Merge(int32_t num_partials, int32_t group, int32_t num_dims,
                      int32_t stats_column, Load load, Store store) {
  const int32_t vecs = num_dims / kVec;
  for (int32_t i = threadIdx.x; i < group * vecs; i += blockDim.x) {
    const int32_t row = i / vecs;
    const int32_t d = i % vecs * kVec;
    float4 stats[kMaxPartials];
    float max = -INFINITY;
#pragma unroll
    for (int j = 0; j < kMaxPartials; ++j) {
      stats[j] = j < num_partials ? load(j, row, stats_column)
                                  : make_float4(-INFINITY, 0.0f, 0.0f, 0.0f);
      max = fmaxf(max, stats[j].x);
    }
    float total = 0.0f;
    float4 means = {};
#pragma unroll
    for (int j = 0; j < kMaxPartials; ++j) {
      const float sum = stats[j].y;
      // One without keys has no maximum; one whose sum is NaN counts.
      if (sum == 0.0f) continue;
      const float weight = sum * exp2f(stats[j].x - max);
      const float4 part = load(j, row, d);
      total += weight;
      means.x += weight * part.x;
      means.y += weight * part.y;
      means.z += weight * part.z;
      means.w += weight * part.w;
    }
    const float scale = total != 0.0f ? 1.0f / total : 0.0f;
    store(row, d,
          make_float4(means.x * scale, means.y * scale, means.z * scale,
                      means.w * scale),
          make_float4(max, total, 0.0f, 0.0f));
  }
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
// The splits of a sequence and head are a thread block cluster and write to
// each other's shared memory.
constexpr bool kHasClusters = true;
#else
constexpr bool kHasClusters = false;
#endif

// Without clusters: each thread block leaves its softmax in memory, and the
// last one joins them.
template <int kHeadDim, int kWarps, typename T, typename Load, typename Store>
__device__ void MergeThroughMemory(const PagedAttentionArgs<T>& args,
                                   const Split& split, int32_t num_splits,
                                   const DecodeWorkspace& workspace, Load load,
                                   Store store) {
  const int32_t pair = split.sequence * args.num_kv_heads + split.kv_head;
  const int32_t stride = split.group * kPartialSize<kHeadDim>;
  float* partials = workspace.partials + int64_t{pair} * num_splits * stride;
  const auto vec_at = [&](int i, int row, int column) {
    return reinterpret_cast<float4*>(partials + i * stride +
                                     row * kPartialSize<kHeadDim> + column);
  };
  Merge<kWarps>(kWarps, split.group, kHeadDim, kHeadDim, load,
                [&](int row, int d, float4 means, float4 stats) {
                  __stcg(vec_at(split.index, row, d), means);
                  if (d == 0) __stcg(vec_at(split.index, row, kHeadDim), stats);
                });
  __shared__ bool is_last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(&workspace.counters[pair], 1) == split.count - 1;
    if (is_last) workspace.counters[pair] = 0;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  Merge<kMaxSplits>(
      split.count, split.group, kHeadDim, kHeadDim,
      [&](int i, int row, int column) {
        return __ldcg(vec_at(i, row, column));
      },
      store);
}

// With clusters. `received` lies at the same place in every block's memory.
template <int kHeadDim, int kWarps, typename Load, typename Store>
__device__ void MergeInCluster(const Split& split, float* received, Load load,
                               Store store) {
  const ReceivedPartials<kHeadDim> layout = {split.count, split.group};
  const auto vec_at = [&](int i, int row, int column) {
    return reinterpret_cast<float4*>(received + layout.Row(i, row) + column);
  };
  const int32_t dims_each = layout.dims_each();
  AwaitArrivals();  // all have begun
  Merge<kWarps>(kWarps, split.group, kHeadDim, kHeadDim, load,
                [&](int row, int d, float4 means, float4 stats) {
                  const int32_t owner = layout.OwnerOf(d);
                  const int32_t column = d - owner * dims_each;
                  *InCluster(vec_at(split.index, row, column), owner) = means;
                  // Every owner gets them.
                  if (d / kVec >= split.count) return;
                  *InCluster(vec_at(split.index, row, dims_each), d / kVec) =
                      stats;
                });
  AwaitCluster();  // all have sent
  const int32_t first = layout.FirstDim(split.index);
  Merge<kMaxSplits>(
      split.count, split.group, layout.FirstDim(split.index + 1) - first,
      dims_each,
      [&](int i, int row, int column) { return *vec_at(i, row, column); },
      [&](int row, int d, float4 means, float4 stats) {
        store(row, first + d, means, stats);
      });
}

template <typename T, int kHeadDim, typename Shape>
__device__ __forceinline__ void Decode(const RopeAttentionArgs<T>& args,
                                       const DecodeWorkspace& workspace,
                                       int32_t num_splits) {
  extern __shared__ __align__(128) unsigned char memory[];
  constexpr int kWarps = Shape::kWarps;
  constexpr int kStages = Shape::kStages;
  auto& shared = *reinterpret_cast<DecodeShared<T, kHeadDim, Shape>*>(memory);
  const bool is_in_cluster = kHasClusters && num_splits > 1;
  if (is_in_cluster) ArriveInCluster();
  LetNextKernelStart();
  if (!args.is_settled && !args.runs_beside) WaitForInputs();
  const Split split = FindSplit(args.attention, num_splits);
  if (split.IsEmpty()) {
    if (is_in_cluster) AwaitArrivals();
    if (is_in_cluster && split.count > 1) AwaitCluster();
    return;
  }
  const int warp = threadIdx.x / 32;
  TileWalk<T, kHeadDim, kStages> walk(args.attention, split,
                                      shared.rings[warp]);

  walk.Start();
  const Angles angles = LoadAngles<T, kHeadDim>(args, split);
  if (args.is_settled && !args.runs_beside) WaitForInputs();
  if (split.HasNewKey()) {
    const int32_t newest = split.num_tiles - 1;
    AppendKey<T, kHeadDim>(args, split, angles,
                           newest < kWarps * kStages
                               ? &shared.rings[newest % kWarps][newest / kWarps]
                               : nullptr);
  }
  PrepareQueries(args, split, angles, shared.queries);
  __syncthreads();

  RowState<kHeadDim> state;
  walk.Run(shared.queries, args.attention.scale * kLog2E, state);
  __syncthreads();  // all have read their tiles
  StorePartials(state, split.group, shared.partials[warp]);
  __syncthreads();

  T* out =
      args.attention.out +
      (int64_t{split.token} * args.attention.num_heads + split.FirstHead()) *
          kHeadDim;
  const auto store = [&](int row, int d, float4 means, float4) {
    StoreFour(out + row * kHeadDim + d, means);
  };
  const auto local = [&](int i, int row, int column) {
    return *reinterpret_cast<const float4*>(&shared.partials[i][row][column]);
  };
  if (split.count == 1) {
    Merge<kWarps>(kWarps, split.group, kHeadDim, kHeadDim, local, store);
    if (is_in_cluster) AwaitArrivals();
  } else if constexpr (kHasClusters) {
    MergeInCluster<kHeadDim, kWarps>(split, shared.received, local, store);
  } else {
    MergeThroughMemory<kHeadDim, kWarps>(args.attention, split, num_splits,
                                         workspace, local, store);
  }
}

template <typename T, int kHeadDim, typename Shape>
__global__ void __launch_bounds__(32 * Shape::kWarps, Shape::kPerMultiprocessor)
    DecodeKernel(RopeAttentionArgs<T> args, DecodeWorkspace workspace,
                 int32_t num_splits) {
  Decode<T, kHeadDim, Shape>(args, workspace, num_splits);
  // So that this kernel is not complete before the one it runs beside.
  const bool is_last = blockIdx.x == gridDim.x - 1 &&
                       blockIdx.y == gridDim.y - 1 &&
                       blockIdx.z == gridDim.z - 1;
  if (args.runs_beside && is_last) WaitForInputs();
}

// Of ReceivedPartials: each split's share is rounded up.
template <int kHeadDim>
constexpr size_t kMaxReceivedFloats = kMaxGroup*(kHeadDim +
                                                 2 * kVec * kMaxSplits);

// Thread blocks that share a sequence with others: at most the target.
int64_t NumPartialFloats(int32_t group, int32_t head_dim) {
  return int64_t{kTargetBlocks} * group * (head_dim + kVec);
}

template <typename T, int kHeadDim, typename Shape>
void LaunchShaped(const RopeAttentionArgs<T>& args,
                  const DecodeWorkspace& workspace, CudaStream stream) {
  constexpr size_t kBytes = sizeof(DecodeShared<T, kHeadDim, Shape>);
  static thread_local const bool allowed = [] {
    AllowSharedMemory(DecodeKernel<T, kHeadDim, Shape>,
                      kBytes + kMaxReceivedFloats<kHeadDim> * sizeof(float));
    return true;
  }();
  static_cast<void>(allowed);
  const PagedAttentionArgs<T>& attention = args.attention;
  const int32_t num_splits =
      NumSplits(attention.num_seqs, attention.num_kv_heads);
  // Fewer splits may have keys.
  int32_t received = 0;
  for (int32_t count = 2; count <= num_splits; ++count) {
    const ReceivedPartials<kHeadDim> layout = {
        count, attention.num_heads / attention.num_kv_heads};
    received = std::max(received, layout.num_floats());
  }
  Launch(
      DecodeKernel<T, kHeadDim, Shape>,
      {.grid = dim3(static_cast<uint32_t>(num_splits),
                    static_cast<uint32_t>(attention.num_kv_heads),
                    static_cast<uint32_t>(attention.num_seqs)),
       .block = 32 * Shape::kWarps,
       .shared_bytes = kBytes + static_cast<size_t>(received) * sizeof(float),
       .cluster = static_cast<uint32_t>(num_splits)},
      stream, args, workspace, num_splits);
}

template <typename T, int kHeadDim>
void LaunchDecode(const RopeAttentionArgs<T>& args,
                  const DecodeWorkspace& workspace, CudaStream stream) {
  constexpr int32_t kLargeGroup = 8;
  const PagedAttentionArgs<T>& attention = args.attention;
  if (attention.num_seqs * attention.num_kv_heads > 2 * kTargetBlocks) {
    return LaunchShaped<T, kHeadDim, ManyBlocks>(args, workspace, stream);
  }
  if (NumSplits(attention.num_seqs, attention.num_kv_heads) == kMaxSplits &&
      attention.num_heads / attention.num_kv_heads < kLargeGroup) {
    return LaunchShaped<T, kHeadDim, FewBlocksOfFewTiles>(args, workspace,
                                                          stream);
  }
  LaunchShaped<T, kHeadDim, FewBlocks>(args, workspace, stream);
}

}  // namespace

template <typename T>
bool FastAttentionSupported(const PagedAttentionArgs<T>& args) {
  return sizeof(T) == 2 && (args.head_dim == 64 || args.head_dim == 128) &&
         args.num_heads / args.num_kv_heads <= kMaxGroup &&
         args.q_stride % 8 == 0;
}

size_t DecodeWorkspaceBytes(int32_t max_seqs, int32_t num_heads,
                            int32_t num_kv_heads, int32_t head_dim) {
  const int64_t num_counters = int64_t{max_seqs} * num_kv_heads;
  return static_cast<size_t>(
      (NumPartialFloats(num_heads / num_kv_heads, head_dim) + num_counters) *
      int64_t{sizeof(float)});
}

template <typename T>
void DecodeAttention(const RopeAttentionArgs<T>& args, void* workspace,
                     CudaStream stream) {
  // Partials first: their place must not depend on the number of sequences,
  // since the counters stay zero from call to call.
  const PagedAttentionArgs<T>& attention = args.attention;
  const int32_t group = attention.num_heads / attention.num_kv_heads;
  DecodeWorkspace typed;
  typed.partials = static_cast<float*>(workspace);
  typed.counters = reinterpret_cast<int32_t*>(
      typed.partials + NumPartialFloats(group, attention.head_dim));
  if constexpr (sizeof(T) == 2) {
    if (attention.head_dim == 64) {
      return LaunchDecode<T, 64>(args, typed, stream);
    }
    LaunchDecode<T, 128>(args, typed, stream);
  }
}

template bool FastAttentionSupported(const PagedAttentionArgs<float>&);
template bool FastAttentionSupported(const PagedAttentionArgs<Float16>&);
template bool FastAttentionSupported(const PagedAttentionArgs<BFloat16>&);
template void DecodeAttention(const RopeAttentionArgs<float>&, void*,
                              CudaStream);
template void DecodeAttention(const RopeAttentionArgs<Float16>&, void*,
                              CudaStream);
template void DecodeAttention(const RopeAttentionArgs<BFloat16>&, void*,
                              CudaStream);

}  // namespace drover::kernels::cuda
