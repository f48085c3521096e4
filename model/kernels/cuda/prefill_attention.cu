#include <cstdint>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/attention_args.cuh"
#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/reduce.cuh"

// Many queries per sequence, on tensor cores (mma.sync m16n8k16). A thread
// block takes 64 rows, a row being a query and one of the query heads that
// share a key-value head, and walks over tiles of 64 keys with the softmax kept
// online (Dao, "FlashAttention-2", 2023). A warp owns 16 rows.

namespace drover::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kRows = 16 * kWarps;
constexpr int kKeys = 64;
constexpr float kLog2E = 1.4426950408889634f;

// A tile in shared memory: rows of kHeadDim, whose 16-byte chunks are permuted
// within groups of eight, so that eight rows of one column hit all banks.
template <typename T, int kHeadDim>
struct Tile {
  static constexpr int kChunks = kHeadDim / 8;
  uint4 chunks[kKeys * kChunks];

  __device__ uint4* At(int row, int chunk) {
    return &chunks[row * kChunks + (chunk ^ (row & 7))];
  }
};

__device__ uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Four 8 x 8 matrices; lane i gives the address of row i % 8 of matrix i / 8.
__device__ void LoadMatrices(const void* row, uint32_t (&to)[4]) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
      : "r"(SharedAddress(row)));
}

__device__ void LoadTransposed(const void* row, uint32_t (&to)[4]) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
      : "r"(SharedAddress(row)));
}

// c += a . b for 16 x 16 by 16 x 8.
__device__ __forceinline__ void MultiplyAdd(BFloat16, const uint32_t (&a)[4],
                                            uint32_t b0, uint32_t b1,
                                            float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void MultiplyAdd(Float16, const uint32_t (&a)[4],
                                            uint32_t b0, uint32_t b1,
                                            float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <typename T>
__device__ uint32_t PackPair(float low, float high) {
  return static_cast<uint32_t>(FromFloat<T>(low).bits) |
         static_cast<uint32_t>(FromFloat<T>(high).bits) << 16;
}

// One thread block's rows.
struct RowBlock {
  int32_t sequence = 0;
  int32_t kv_head = 0;
  int32_t group = 1;
  int32_t first_row = 0;   // of the sequence's queries times group
  int32_t num_rows = 0;    // of the sequence, all blocks
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
__device__ RowBlock FindRows(const PagedAttentionArgs<T>& args) {
  RowBlock rows;
  rows.sequence = static_cast<int32_t>(blockIdx.z);
  rows.kv_head = static_cast<int32_t>(blockIdx.y);
  rows.group = args.num_heads / args.num_kv_heads;
  // The longest rows first: they see the most keys.
  rows.first_token = args.query_start[rows.sequence];
  const int32_t num_queries =
      args.query_start[rows.sequence + 1] - rows.first_token;
  rows.num_rows = num_queries * rows.group;
  rows.first_row = static_cast<int32_t>(gridDim.x - 1 - blockIdx.x) * kRows;
  rows.first_position = args.kv_len[rows.sequence] - num_queries;
  return rows;
}

template <typename T, int kHeadDim>
__device__ void LoadQueries(const PagedAttentionArgs<T>& args,
                            const RowBlock& rows, Tile<T, kHeadDim>& tile) {
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

// Starts bringing keys (or values) begin ... begin + 63 in; zeros from `end`
// on, since whatever memory holds there must not reach a product.
template <typename T, int kHeadDim>
__device__ void StartTile(const CacheReader<T>& cache, const T* from,
                          int32_t begin, int32_t end,
                          Tile<T, kHeadDim>& tile) {
  constexpr int kChunks = kHeadDim / 8;
  for (int i = threadIdx.x; i < kKeys * kChunks; i += kThreads) {
    const int row = i / kChunks;
    const int chunk = i % kChunks;
    const int32_t position = begin + row;
    const int bytes = position < end ? 16 : 0;
    const T* source =
        from + cache.Offset(min(position, end - 1)) + chunk * 8;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     SharedAddress(tile.At(row, chunk))),
                 "l"(source), "r"(bytes));
  }
  asm volatile("cp.async.commit_group;");
}

template <int kPending>
__device__ void AwaitTiles() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending));
  __syncthreads();
}

// What a thread holds of its warp's 16 rows: of rows lane / 4 and lane / 4 + 8.
template <int kHeadDim>
struct RowState {
  float acc[kHeadDim / 8][4] = {};
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};
};

template <typename T, int kHeadDim>
__device__ void Scores(const uint32_t (&q)[kHeadDim / 16][4],
                       Tile<T, kHeadDim>& keys, float (&scores)[kKeys / 8][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kKeys / 16; ++n) {
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      uint32_t b[4];
      LoadMatrices(keys.At(16 * n + lane % 8 + lane / 16 * 8,
                           2 * k + lane / 8 % 2),
                   b);
      MultiplyAdd(T{}, q[k], b[0], b[1], scores[2 * n]);
      MultiplyAdd(T{}, q[k], b[2], b[3], scores[2 * n + 1]);
    }
  }
}

// Hides the keys that a row does not see, and turns scores into weights.
template <int kHeadDim>
__device__ void Weigh(const int32_t (&position)[2], int32_t begin,
                      int32_t window, float scale,
                      float (&scores)[kKeys / 8][4],
                      RowState<kHeadDim>& state) {
  const int lane = threadIdx.x % 32;
  float max[2] = {state.max[0], state.max[1]};
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int32_t key = begin + 8 * n + lane % 4 * 2 + i % 2;
      const int32_t row = position[i / 2];
      const bool visible =
          key <= row && (window == 0 || key > row - window);
      scores[n][i] = visible ? scores[n][i] * scale : -INFINITY;
      max[i / 2] = fmaxf(max[i / 2], scores[n][i]);
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    max[r] = fmaxf(max[r], __shfl_xor_sync(kAllLanes, max[r], 1));
    max[r] = fmaxf(max[r], __shfl_xor_sync(kAllLanes, max[r], 2));
    const float rescale =
        max[r] == -INFINITY ? 1.0f : exp2f(state.max[r] - max[r]);
    state.max[r] = max[r];
    state.sum[r] *= rescale;
#pragma unroll
    for (int d = 0; d < kHeadDim / 8; ++d) {
      state.acc[d][2 * r] *= rescale;
      state.acc[d][2 * r + 1] *= rescale;
    }
  }
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float weight = scores[n][i] == -INFINITY
                               ? 0.0f
                               : exp2f(scores[n][i] - state.max[i / 2]);
      scores[n][i] = weight;
      state.sum[i / 2] += weight;
    }
  }
}

template <typename T, int kHeadDim>
__device__ void AddValues(const float (&weights)[kKeys / 8][4],
                          Tile<T, kHeadDim>& values,
                          RowState<kHeadDim>& state) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
    const uint32_t a[4] = {
        PackPair<T>(weights[2 * k][0], weights[2 * k][1]),
        PackPair<T>(weights[2 * k][2], weights[2 * k][3]),
        PackPair<T>(weights[2 * k + 1][0], weights[2 * k + 1][1]),
        PackPair<T>(weights[2 * k + 1][2], weights[2 * k + 1][3])};
#pragma unroll
    for (int d = 0; d < kHeadDim / 16; ++d) {
      uint32_t b[4];
      LoadTransposed(values.At(16 * k + lane % 16, 2 * d + lane / 16), b);
      MultiplyAdd(T{}, a, b[0], b[1], state.acc[2 * d]);
      MultiplyAdd(T{}, a, b[2], b[3], state.acc[2 * d + 1]);
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
    float sum = state.sum[r];
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
    const int row = warp_row + lane / 4 + 8 * r;
    if (!rows.IsRow(row)) continue;
    const float inverse = sum != 0.0f ? 1.0f / sum : 0.0f;
    T* out = args.out +
             (int64_t{rows.Token(row)} * args.num_heads + rows.Head(row)) *
                 kHeadDim +
             lane % 4 * 2;
#pragma unroll
    for (int d = 0; d < kHeadDim / 8; ++d) {
      *reinterpret_cast<uint32_t*>(out + 8 * d) =
          PackPair<T>(state.acc[d][2 * r] * inverse,
                      state.acc[d][2 * r + 1] * inverse);
    }
  }
}

template <typename T, int kHeadDim>
struct PrefillShared {
  Tile<T, kHeadDim> queries;
  Tile<T, kHeadDim> keys;
  Tile<T, kHeadDim> values;
};

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kThreads)
    PrefillKernel(PagedAttentionArgs<T> args) {
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<PrefillShared<T, kHeadDim>*>(memory);
  LetNextKernelStart();
  WaitForInputs();
  const RowBlock rows = FindRows(args);
  if (rows.first_row >= rows.num_rows) return;
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 * 16;

  // Keys that some row of the block sees.
  const int32_t last_row = min(kRows, rows.num_rows - rows.first_row) - 1;
  const int32_t end =
      args.kv_len[rows.sequence] == 0 ? 0 : rows.Position(last_row) + 1;
  int32_t begin =
      args.window > 0 ? max(0, rows.Position(0) + 1 - args.window) : 0;
  begin = begin / kKeys * kKeys;

  const CacheReader<T> cache(args, rows.sequence, rows.kv_head);
  if (begin < end) StartTile(cache, cache.keys(), begin, end, shared.keys);
  LoadQueries(args, rows, shared.queries);
  __syncthreads();
  uint32_t q[kHeadDim / 16][4];
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
    LoadMatrices(
        shared.queries.At(warp_row + lane % 16, 2 * k + lane / 16), q[k]);
  }
  const int32_t position[2] = {rows.Position(warp_row + lane / 4),
                               rows.Position(warp_row + lane / 4 + 8)};

  RowState<kHeadDim> state;
  for (; begin < end; begin += kKeys) {
    StartTile(cache, cache.values(), begin, end, shared.values);
    AwaitTiles<1>();  // the keys
    float scores[kKeys / 8][4] = {};
    Scores(q, shared.keys, scores);
    __syncthreads();  // all have read the keys
    const bool has_next = begin + kKeys < end;
    if (has_next) {
      StartTile(cache, cache.keys(), begin + kKeys, end, shared.keys);
    }
    Weigh(position, begin, args.window, args.scale * kLog2E, scores, state);
    if (has_next) {
      AwaitTiles<1>();  // the values
    } else {
      AwaitTiles<0>();
    }
    AddValues(scores, shared.values, state);
    __syncthreads();  // all have read the values
  }
  StoreRows(args, rows, warp_row, state);
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
  Launch(PrefillKernel<T, kHeadDim>,
         {.grid = dim3(static_cast<uint32_t>((rows + kRows - 1) / kRows),
                       static_cast<uint32_t>(args.num_kv_heads),
                       static_cast<uint32_t>(args.num_seqs)),
          .block = kThreads,
          .shared_bytes = kBytes},
         stream, args);
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
