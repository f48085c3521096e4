#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/attention_args.cuh"
#include "model/kernels/cuda/cluster.cuh"
#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mma.cuh"
#include "model/kernels/cuda/reduce.cuh"

// Many queries per sequence, on tensor cores (mma.sync m16n8k16). A thread
// block takes 64 rows, a row being a query and one of the query heads that
// share a key-value head, and walks over tiles of 64 keys with the softmax kept
// online (Dao, "FlashAttention-2", 2023). A warp owns 16 rows. Where there are
// too few rows to fill the multiprocessors, as in a small chunk of a long
// prompt, the members of a thread block cluster divide the keys.

namespace drover::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kRows = 16 * kWarps;
constexpr int kKeys = 64;
constexpr int kBlocksPerMultiprocessor = 3;  // as registers allow
constexpr int32_t kMaxSplits = 8;            // as any cluster may have
constexpr int32_t kMinSplitTiles = 4;        // so that joining pays

// One thread block's rows.
struct RowBlock {
  int32_t sequence = 0;
  int32_t kv_head = 0;
  int32_t group = 1;
  int32_t first_row = 0;    // of the sequence's queries times group
  int32_t num_rows = 0;     // of the sequence, all blocks
  int32_t first_token = 0;  // of the sequence's queries
  int32_t first_position = 0;

  __device__ bool IsRow(int32_t row) const {
    return first_row + row < num_rows;
  }
  __device__ int32_t Token(int32_t row) const {
    return first_token + (first_row + row) / group;
  }
  __device__ int32_t Position(int32_t row) const {
    return first_position + (first_row + row) / group;
  }
  __device__ int32_t Head(int32_t row) const {
    return kv_head * group + (first_row + row) % group;
  }
};

template <typename T>
__device__ RowBlock FindRows(const PagedAttentionArgs<T>& args,
                             int32_t num_splits) {
  RowBlock rows;
  rows.sequence = static_cast<int32_t>(blockIdx.z);
  rows.kv_head = static_cast<int32_t>(blockIdx.y);
  rows.group = args.num_heads / args.num_kv_heads;
  // The longest rows first: they see the most keys.
  rows.first_token = args.query_start[rows.sequence];
  const int32_t num_queries =
      args.query_start[rows.sequence + 1] - rows.first_token;
  rows.num_rows = num_queries * rows.group;
  rows.first_row =
      static_cast<int32_t>(gridDim.x - 1 - blockIdx.x) / num_splits * kRows;
  rows.first_position = args.kv_len[rows.sequence] - num_queries;
  return rows;
}

template <typename T, int kHeadDim>
__device__ void LoadQueries(const PagedAttentionArgs<T>& args,
                            const RowBlock& rows,
                            Tile<T, kKeys, kHeadDim>& tile) {
  constexpr int kChunks = kHeadDim / 8;
  for (int i = threadIdx.x; i < kRows * kChunks; i += kThreads) {
    const int row = i / kChunks;
    const int chunk = i % kChunks;
    uint4 value = {};
    if (rows.IsRow(row)) {
      value = *reinterpret_cast<const uint4*>(
          args.q + rows.Token(row) * args.q_stride +
          int64_t{rows.Head(row)} * kHeadDim + chunk * 8);
    }
    *tile.At(row, chunk) = value;
  }
}

// Brings tiles of keys and of values in, of one sequence and head.
template <typename T, int kHeadDim>
class TileLoader {
 public:
  // Of keys [0, end); past that, tiles are filled with zeros, since whatever
  // memory holds there must not reach a product.
  __device__ TileLoader(const PagedAttentionArgs<T>& args, const RowBlock& rows,
                        int32_t end)
      : cache_(args, rows.sequence, rows.kv_head), end_(end) {}

  // The next tile starts at `begin`. Its blocks are asked for now and needed
  // at the first Start.
  __device__ void MoveTo(int32_t begin) {
    begin_ = begin;
    const int32_t last = max(0, end_ - 1) / kKvBlockSize;
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      blocks_[i] = cache_.BlockAt(min(begin / kKvBlockSize + i, last));
    }
  }

  __device__ void StartKeys(Tile<T, kKeys, kHeadDim>& tile) const {
    Start(cache_.keys(), tile);
  }
  __device__ void StartValues(Tile<T, kKeys, kHeadDim>& tile) const {
    Start(cache_.values(), tile);
  }

 private:
  static constexpr int kBlocks = kKeys / kKvBlockSize;
  static constexpr int kChunks = kHeadDim / 8;
  static constexpr int kRowsAtOnce = kThreads / kChunks;

  // Ends a group of copies, empty past the end.
  __device__ void Start(const T* from, Tile<T, kKeys, kHeadDim>& tile) const {
    const int first_row = threadIdx.x / kChunks;
    const int chunk = threadIdx.x % kChunks;
    if (begin_ < end_) {
#pragma unroll
      for (int i = 0; i < kKeys / kRowsAtOnce; ++i) {
        const int in_block = i * kRowsAtOnce % kKvBlockSize + first_row;
        const int row = i * kRowsAtOnce + first_row;
        StartCopy(
            tile.At(row, chunk),
            from +
                cache_.OffsetOfBlock(blocks_[i * kRowsAtOnce / kKvBlockSize]) +
                in_block * kHeadDim + 8 * chunk,
            begin_ + row < end_);
      }
    }
    EndCopies();
  }

  const CacheReader<T> cache_;
  const int32_t end_;
  int32_t begin_ = 0;
  int32_t blocks_[kBlocks];
};

template <int kPending>
__device__ void AwaitTiles() {
  AwaitCopies<kPending>();
  __syncthreads();
}

// The keys that a warp's rows see.
struct Visibility {
  int32_t last[2] = {};       // of this thread's rows
  int32_t before[2] = {};     // the first is the one after it
  int32_t all_see_first = 0;  // that every row of the warp sees
  int32_t all_see_last = 0;
};

__device__ __forceinline__ Visibility FindVisibility(const RowBlock& rows,
                                                     int warp_row,
                                                     int32_t window) {
  const int row = warp_row + static_cast<int>(threadIdx.x % 32 / 4);
  Visibility visibility;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    visibility.last[r] = rows.Position(row + 8 * r);
    visibility.before[r] = window > 0 ? visibility.last[r] - window : -1;
  }
  visibility.all_see_last = rows.Position(warp_row);
  visibility.all_see_first =
      window > 0 ? rows.Position(warp_row + 15) - window + 1 : 0;
  return visibility;
}

// Scales scores, and hides the keys that a row does not see.
__device__ __forceinline__ void Mask(const Visibility& rows, int32_t begin,
                                     float scale,
                                     float (&scores)[kKeys / 8][4]) {
  if (begin >= rows.all_see_first && begin + kKeys - 1 <= rows.all_see_last) {
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[n][i] *= scale;
    }
    return;
  }
  const int32_t first = begin + static_cast<int32_t>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int32_t key = first + 8 * n + i % 2;
      const bool is_visible =
          (key <= rows.last[i / 2]) & (key > rows.before[i / 2]);
      scores[n][i] = is_visible ? scores[n][i] * scale : -INFINITY;
    }
  }
}

// The keys of one member of the cluster.
struct Split {
  int32_t index = 0;
  int32_t count = 1;  // splits that have keys
  int32_t begin = 0;
  int32_t end = 0;
};

// Of keys [begin, end), in whole tiles.
__device__ __forceinline__ Split FindSplit(int32_t begin, int32_t end,
                                           int32_t num_splits) {
  const int32_t num_tiles = (max(0, end - begin) + kKeys - 1) / kKeys;
  const int32_t per_split =
      max(kMinSplitTiles, (num_tiles + num_splits - 1) / num_splits);
  Split split;
  split.index = static_cast<int32_t>(blockIdx.x) % num_splits;
  split.count = max(1, (num_tiles + per_split - 1) / per_split);
  split.begin = begin + split.index * per_split * kKeys;
  split.end = min(end, split.begin + per_split * kKeys);
  return split;
}

// Joins the rows of all splits; each member of the cluster stores its share of
// them, a warp a row.
template <typename T, int kHeadDim>
__device__ void StoreJoined(const PagedAttentionArgs<T>& args,
                            const RowBlock& rows, const Split& split,
                            const float (*partials)[kPartialSize<kHeadDim>]) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const auto warp = static_cast<int32_t>(threadIdx.x / 32);
  for (int32_t row = warp * split.count + split.index; row < kRows;
       row += kWarps * split.count) {
    if (!rows.IsRow(row)) return;
    const bool is_split = lane < split.count;
    const float* mine = InCluster(partials[row], is_split ? lane : 0);
    const float max_here = is_split ? mine[kHeadDim] : -INFINITY;
    const float sum = is_split ? mine[kHeadDim + 1] : 0.0f;
    const float max =
        WarpReduce(max_here, [](float a, float b) { return fmaxf(a, b); });
    // One without keys has no maximum; one whose sum is NaN counts.
    float weight = sum == 0.0f ? 0.0f : sum * exp2f(max_here - max);
    const float total = WarpReduce(weight, Plus<float>());
    weight = total != 0.0f ? weight / total : 0.0f;
    float means[kHeadDim / 32] = {};
    for (int32_t i = 0; i < split.count; ++i) {
      const float* other = InCluster(partials[row], i);
      const float its_weight = __shfl_sync(kAllLanes, weight, i);
#pragma unroll
      for (int d = 0; d < kHeadDim / 32; ++d) {
        means[d] += its_weight * other[32 * d + lane];
      }
    }
    T* out =
        args.out +
        (int64_t{rows.Token(row)} * args.num_heads + rows.Head(row)) * kHeadDim;
#pragma unroll
    for (int d = 0; d < kHeadDim / 32; ++d) {
      out[32 * d + lane] = FromFloat<T>(means[d]);
    }
  }
}

template <typename T, int kHeadDim>
__device__ void StoreRows(const PagedAttentionArgs<T>& args,
                          const RowBlock& rows, int warp_row,
                          RowState<kHeadDim>& state) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = SumOfRow(state.sum[r]);
    const int row = warp_row + lane / 4 + 8 * r;
    if (!rows.IsRow(row)) continue;
    const float inverse = sum != 0.0f ? 1.0f / sum : 0.0f;
    T* out = args.out +
             (int64_t{rows.Token(row)} * args.num_heads + rows.Head(row)) *
                 kHeadDim +
             lane % 4 * 2;
#pragma unroll
    for (int d = 0; d < kHeadDim / 8; ++d) {
      *reinterpret_cast<uint32_t*>(out + 8 * d) = PackPair<T>(
          state.acc[d][2 * r] * inverse, state.acc[d][2 * r + 1] * inverse);
    }
  }
}

template <typename T, int kHeadDim>
union PrefillShared {
  struct {
    Tile<T, kKeys, kHeadDim> keys[2];
    // The second is where the queries pass through.
    Tile<T, kKeys, kHeadDim> values[2];
  };
  float partials[kRows][kPartialSize<kHeadDim>];
};

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    PrefillKernel(PagedAttentionArgs<T> args, int32_t num_splits) {
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<PrefillShared<T, kHeadDim>*>(memory);
  LetNextKernelStart();
  WaitForInputs();
  const RowBlock rows = FindRows(args, num_splits);
  if (rows.first_row >= rows.num_rows) return;
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 * 16;

  // Keys that some row of the block sees.
  const int32_t last_row = min(kRows, rows.num_rows - rows.first_row) - 1;
  const int32_t last_key =
      args.kv_len[rows.sequence] == 0 ? 0 : rows.Position(last_row) + 1;
  const int32_t first_key =
      args.window > 0 ? max(0, rows.Position(0) + 1 - args.window) : 0;
  const Split own = FindSplit(first_key / kKeys * kKeys, last_key, num_splits);
  __shared__ Split split;  // not in registers meanwhile
  if (threadIdx.x == 0) split = own;

  TileLoader<T, kHeadDim> loader(args, rows, own.end);
  loader.MoveTo(own.begin);
  loader.StartKeys(shared.keys[0]);
  loader.StartValues(shared.values[0]);
  LoadQueries(args, rows, shared.values[1]);
  __syncthreads();
  uint32_t q[kHeadDim / 16][4];
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
    LoadMatrices(shared.values[1].At(warp_row + lane % 16, 2 * k + lane / 16),
                 q[k]);
  }
  const Visibility visibility = FindVisibility(rows, warp_row, args.window);

  RowState<kHeadDim> state;
  int stage = 0;
  for (int32_t begin = own.begin; begin < own.end; begin += kKeys) {
    loader.MoveTo(begin + kKeys);
    AwaitTiles<1>();  // these keys; and all have read the last ones
    loader.StartKeys(shared.keys[stage ^ 1]);
    float scores[kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      AddScores<T, kKeys>(q[k], k, shared.keys[stage], scores);
    }
    Mask(visibility, begin, args.scale * kLog2E, scores);
    Weigh<kHeadDim, kKeys>(scores, state);
    AwaitTiles<1>();  // these values
    loader.StartValues(shared.values[stage ^ 1]);
    AddValues<T, kHeadDim, kKeys>(scores, shared.values[stage], state);
    stage ^= 1;
  }
  AwaitCopies<0>();
  if (split.count == 1) {
    if (split.index == 0) StoreRows(args, rows, warp_row, state);
    return;
  }
  __syncthreads();  // all have read their tiles
  StorePartials(state, 16, shared.partials + warp_row);
  AwaitCluster();  // all have stored
  if (split.index < split.count) {
    StoreJoined<T, kHeadDim>(args, rows, split, shared.partials);
  }
  __syncwarp();
  AwaitCluster();  // all have read
}

template <typename T, int kHeadDim>
void LaunchPrefill(const PagedAttentionArgs<T>& args, int32_t max_queries,
                   CudaStream stream) {
  constexpr size_t kBytes = sizeof(PrefillShared<T, kHeadDim>);
  static const bool allowed = [] {
    AllowSharedMemory(PrefillKernel<T, kHeadDim>, kBytes);
    return true;
  }();
  static_cast<void>(allowed);
  const int32_t rows = max_queries * (args.num_heads / args.num_kv_heads);
  const int32_t row_blocks = (rows + kRows - 1) / kRows;
  const DeviceLimits& device = CurrentDevice();
  const int32_t room = kBlocksPerMultiprocessor * device.num_multiprocessors;
  const int32_t blocks =
      std::max(1, row_blocks * args.num_kv_heads * args.num_seqs);
  const int32_t num_splits =
      device.major < 9 ? 1 : std::clamp(room / blocks, 1, kMaxSplits);
  Launch(PrefillKernel<T, kHeadDim>,
         {.grid = dim3(static_cast<uint32_t>(row_blocks * num_splits),
                       static_cast<uint32_t>(args.num_kv_heads),
                       static_cast<uint32_t>(args.num_seqs)),
          .block = kThreads,
          .shared_bytes = kBytes,
          .cluster = static_cast<uint32_t>(num_splits)},
         stream, args, num_splits);
}

}  // namespace

template <typename T>
void PrefillAttention(const PagedAttentionArgs<T>& args, int32_t max_queries,
                      CudaStream stream) {
  if constexpr (sizeof(T) == 2) {
    if (args.head_dim == 64) {
      return LaunchPrefill<T, 64>(args, max_queries, stream);
    }
    LaunchPrefill<T, 128>(args, max_queries, stream);
  }
}

template void PrefillAttention(const PagedAttentionArgs<float>&, int32_t,
                               CudaStream);
template void PrefillAttention(const PagedAttentionArgs<Float16>&, int32_t,
                               CudaStream);
template void PrefillAttention(const PagedAttentionArgs<BFloat16>&, int32_t,
                               CudaStream);

}  // namespace drover::kernels::cuda
