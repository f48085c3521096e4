#include <cstdint>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/attention_args.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mma.cuh"
#include "model/kernels/cuda/prefill_rows.cuh"

// Many queries per sequence, on tensor cores (mma.sync m16n8k16). A thread
// block takes 64 rows and walks over tiles of 64 keys with the softmax kept
// online (Dao, "FlashAttention-2", 2023). A warp owns 16 rows.

namespace drover::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kRows = 16 * kWarps;
constexpr int kKeys = 64;
constexpr int kBlocksPerMultiprocessor = 3;  // as registers allow

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
          args.q + rows.Offset(row, args.q_stride, kHeadDim) + chunk * 8);
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

template <typename T, int kHeadDim>
struct PrefillShared {
  Tile<T, kKeys, kHeadDim> keys[2];
  // The second is where the queries pass through.
  Tile<T, kKeys, kHeadDim> values[2];
};

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    PrefillKernel(PagedAttentionArgs<T> args, RowItems items) {
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<PrefillShared<T, kHeadDim>*>(memory);
  LetNextKernelStart();
  WaitForInputs();
  const RowBlock rows = items.Find(args, static_cast<int32_t>(blockIdx.x));
  if (rows.num_rows == 0) return;
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 * 16;
  const KeyRange keys = KeysOfRows<kKeys>(args, rows);

  TileLoader<T, kHeadDim> loader(args, rows, keys.end);
  loader.MoveTo(keys.begin);
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
  for (int32_t begin = keys.begin; begin < keys.end; begin += kKeys) {
    loader.MoveTo(begin + kKeys);
    AwaitTiles<1>();  // these keys; and all have read the last ones
    loader.StartKeys(shared.keys[stage ^ 1]);
    float scores[kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      AddScores<T, kKeys>(q[k], k, shared.keys[stage], scores);
    }
    Mask<kKeys>(visibility, begin, scores);
    float rescale[2];
    Weigh<kKeys>(scores, args.scale * kLog2E, state.softmax, rescale);
    Rescale(state.acc, rescale);
    AwaitTiles<1>();  // these values
    loader.StartValues(shared.values[stage ^ 1]);
    AddValues<T, kHeadDim, kKeys>(scores, shared.values[stage], state);
    stage ^= 1;
  }
  AwaitCopies<0>();
  StoreRows(args, rows, warp_row, state);
}

template <typename T, int kHeadDim>
void LaunchPrefill(const PrefillAttentionArgs<T>& args, CudaStream stream) {
  constexpr size_t kBytes = sizeof(PrefillShared<T, kHeadDim>);
  static thread_local const bool is_allowed = [] {
    AllowSharedMemory(PrefillKernel<T, kHeadDim>, kBytes);
    return true;
  }();
  static_cast<void>(is_allowed);
  const RowItems items = CountRowItems(args, kRows);
  Launch(PrefillKernel<T, kHeadDim>,
         {.grid = dim3(static_cast<uint32_t>(items.count())),
          .block = kThreads,
          .shared_bytes = kBytes},
         stream, args.attention, items);
}

}  // namespace

template <typename T>
void Sm80PrefillAttention(const PrefillAttentionArgs<T>& args,
                          CudaStream stream) {
  if constexpr (sizeof(T) == 2) {
    if (args.attention.head_dim == 64) {
      return LaunchPrefill<T, 64>(args, stream);
    }
    LaunchPrefill<T, 128>(args, stream);
  }
}

#define DROVER_INSTANTIATE(T)                                        \
  template void Sm80PrefillAttention(const PrefillAttentionArgs<T>&, \
                                     CudaStream);
DROVER_INSTANTIATE(float)
DROVER_INSTANTIATE(Float16)
DROVER_INSTANTIATE(BFloat16)
#undef DROVER_INSTANTIATE

}  // namespace drover::kernels::cuda
