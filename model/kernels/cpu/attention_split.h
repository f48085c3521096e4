#pragma once

#include <type_traits>

#include "model/kernels/cpu/attention_tile.h"
#include "model/kernels/cpu/simd.h"
#include "model/kernels/kernels.h"

// The attention of one tile of query rows over one split of its keys, and what
// joins the splits.

namespace drover::kernels::DROVER_KERNEL_ISA {

// Keys of a split. The grid is fixed, so that a result does not depend on how
// the work was spread.
inline constexpr int kSplitKeys = 256;
static_assert(kSplitKeys % kChunkKeys == 0);

// Rows [row_begin, row_begin + num_rows) of one sequence and key-value head,
// and the splits [split_begin, split_end) of the keys that any of them sees.
// Row r is query token r / group and query head r % group of the head's group.
struct Tile {
  int32_t seq;
  int32_t kv_head;
  int32_t row_begin;
  int32_t num_rows;
  int32_t split_begin;
  int32_t split_end;
  int64_t first_split;  // splits of all tiles before this one

  int32_t num_splits() const { return split_end - split_begin; }
};

// Query rows with their softmax and output so far, in somebody else's memory.
struct TileState {
  RunningSoftmax* softmax;  // [num_rows]
  float* out;               // [num_rows, padded_dim]
};

struct TileMemory {
  RunningSoftmax softmax[kTileRows];
  alignas(64) float out[kTileRows * kMaxHeadDim];

  TileState state() { return {softmax, out}; }
};

// What the functions below know about the whole call.
template <typename T>
struct AttentionCall {
  const PagedAttentionArgs<T>& args;
  int32_t group;       // query heads per key-value head
  int32_t padded_dim;  // head_dim, up to a multiple of kLanes

  int32_t num_queries(int32_t seq) const {
    return args.query_start[seq + 1] - args.query_start[seq];
  }
  int32_t position(const Tile& tile, int32_t row) const {
    return args.kv_len[tile.seq] - num_queries(tile.seq) +
           (tile.row_begin + row) / group;
  }
  // Keys [visible_begin, visible_end) are what a row sees.
  int32_t visible_end(const Tile& tile, int32_t row) const {
    return position(tile, row) + 1;
  }
  int32_t visible_begin(const Tile& tile, int32_t row) const {
    const int32_t begin = visible_end(tile, row) - args.window;
    return args.window > 0 && begin > 0 ? begin : 0;
  }
  int64_t query_offset(const Tile& tile, int32_t row, int64_t stride) const {
    const int32_t r = tile.row_begin + row;
    const int64_t token = args.query_start[tile.seq] + r / group;
    const int64_t head = tile.kv_head * group + r % group;
    return token * stride + head * args.head_dim;
  }
  const T* block(const T* cache, const Tile& tile, int32_t index) const {
    const int64_t table = int64_t{tile.seq} * args.max_blocks_per_seq;
    const int64_t block = args.block_tables[table + index];
    return cache + (block * args.num_kv_heads + tile.kv_head) *
                       int64_t{kKvBlockSize} * args.head_dim;
  }
};

// The tile's queries as float32, multiplied by the scale, padded with zeros.
template <typename T>
void LoadQueries(const AttentionCall<T>& call, const Tile& tile, float* q) {
  const int dim = call.args.head_dim;
  for (int r = 0; r < tile.num_rows; ++r) {
    const T* row = call.args.q + call.query_offset(tile, r, call.args.q_stride);
    ForVectors(0, dim, [&](int64_t d, auto lanes) {
      Store(Load(row + d, lanes) * call.args.scale,
            q + r * call.padded_dim + d);
    });
  }
}

// Calls body(block) with [16, padded_dim] keys or values of a cache block:
// where they lie if head_dim needs no padding, else a padded copy.
template <typename T, typename Body>
void WithPaddedBlock(const AttentionCall<T>& call, const T* block,
                     const Body& body) {
  const int dim = call.args.head_dim;
  if (call.padded_dim == dim) return body(block);
  alignas(64) float copy[kKvBlockSize * kMaxHeadDim];
  for (int t = 0; t < kKvBlockSize; ++t) {
    ForVectors(0, dim, [&](int64_t d, auto lanes) {
      Store(Load(block + t * dim + d, lanes), copy + t * call.padded_dim + d);
    });
  }
  body(static_cast<const float*>(copy));
}

// What to prefetch while working on `block`: `next`, unless the block is a
// padded copy, which is laid out differently.
template <typename B, typename T>
const B* PrefetchTarget(const B* block, const T* next) {
  if constexpr (std::is_same_v<B, T>) {
    return next;
  } else {
    return block;
  }
}

// Keys [begin, end) of a tile, at most kChunkKeys, and the tile's last block.
struct Chunk {
  int32_t begin;
  int32_t end;
  int32_t last_block;

  int32_t first_block() const { return begin / kKvBlockSize; }
  int32_t num_blocks() const {
    return (end - begin + kKvBlockSize - 1) / kKvBlockSize;
  }
};

// scores = q k, the matching values being fetched meanwhile.
template <typename T>
void ScoreChunk(const AttentionCall<T>& call, const Tile& tile,
                const Chunk& chunk, const float* q, float* scores) {
  for (int32_t i = 0; i < chunk.num_blocks(); ++i) {
    const int32_t index = chunk.first_block() + i;
    const T* next = call.block(call.args.v_cache, tile, index);
    WithPaddedBlock(call, call.block(call.args.k_cache, tile, index),
                    [&](const auto* k) {
                      DotBlock(q, tile.num_rows, k, PrefetchTarget(k, next),
                               call.padded_dim, scores + i * kKvBlockSize);
                    });
  }
}

// out += p v, the keys of the next chunk being fetched meanwhile.
template <typename T>
void AccumulateChunk(const AttentionCall<T>& call, const Tile& tile,
                     const Chunk& chunk, const float* p, float* out) {
  constexpr int kChunkBlocks = kChunkKeys / kKvBlockSize;
  for (int32_t i = 0; i < chunk.num_blocks(); ++i) {
    const int32_t index = chunk.first_block() + i;
    const int32_t num_keys =
        Min(kKvBlockSize, chunk.end - index * kKvBlockSize);
    const T* next = call.block(call.args.k_cache, tile,
                               Min(index + kChunkBlocks, chunk.last_block));
    WithPaddedBlock(call, call.block(call.args.v_cache, tile, index),
                    [&](const auto* v) {
                      AccumulateBlock(p + i * kKvBlockSize, tile.num_rows, v,
                                      PrefetchTarget(v, next), num_keys,
                                      call.padded_dim, out);
                    });
  }
}

// Lets the tile's rows see the keys of a chunk.
template <typename T>
void AttendChunk(const AttentionCall<T>& call, const Tile& tile,
                 const Chunk& chunk, const float* q, const TileState& state) {
  alignas(64) float scores[kTileRows * kChunkKeys];
  ScoreChunk(call, tile, chunk, q, scores);
  for (int r = 0; r < tile.num_rows; ++r) {
    UpdateSoftmax(Min(call.visible_begin(tile, r) - chunk.begin, kChunkKeys),
                  Max(call.visible_end(tile, r) - chunk.begin, 0),
                  call.padded_dim, scores + r * kChunkKeys, state.softmax[r],
                  state.out + r * call.padded_dim);
  }
  AccumulateChunk(call, tile, chunk, scores, state.out);
}

// The tile's softmax over the keys of one split alone.
template <typename T>
void AttendSplit(const AttentionCall<T>& call, const Tile& tile, const float* q,
                 int32_t split, const TileState& state) {
  for (int r = 0; r < tile.num_rows; ++r) state.softmax[r] = RunningSoftmax();
  __builtin_memset(state.out, 0,
                   sizeof(float) * tile.num_rows * call.padded_dim);
  const int32_t tile_begin = call.visible_begin(tile, 0);
  const int32_t tile_end = call.visible_end(tile, tile.num_rows - 1);
  const int32_t end = Min((split + 1) * kSplitKeys, tile_end);
  for (int32_t begin = split * kSplitKeys; begin < end; begin += kChunkKeys) {
    if (begin + kChunkKeys <= tile_begin) continue;
    AttendChunk(
        call, tile,
        {begin, Min(begin + kChunkKeys, end), (tile_end - 1) / kKvBlockSize}, q,
        state);
  }
}

template <typename T>
void MergeTile(const AttentionCall<T>& call, const Tile& tile,
               const TileState& later, const TileState& state) {
  for (int r = 0; r < tile.num_rows; ++r) {
    const int offset = r * call.padded_dim;
    MergeSoftmax(later.softmax[r], later.out + offset, call.padded_dim,
                 state.softmax[r], state.out + offset);
  }
}

template <typename T>
void WriteTile(const AttentionCall<T>& call, const Tile& tile,
               const TileState& state) {
  const int dim = call.args.head_dim;
  const int64_t stride = int64_t{call.args.num_heads} * dim;
  for (int r = 0; r < tile.num_rows; ++r) {
    T* out = call.args.out + call.query_offset(tile, r, stride);
    const float* sums = state.out + r * call.padded_dim;
    const float inverse = 1.0f / state.softmax[r].sum;
    ForVectors(0, dim, [&](int64_t d, auto lanes) {
      Store(Load(sums + d) * inverse, out + d, lanes);
    });
  }
}

}  // namespace drover::kernels::DROVER_KERNEL_ISA
