#pragma once

#include "model/kernels/cpu/attention_tile.h"
#include "model/kernels/cpu/parallel.h"
#include "model/kernels/cpu/scratch.h"

// Paged attention: cuts the batch into tiles of query rows, a tile's keys into
// splits, and folds the splits' softmaxes in ascending order. The grid of the
// splits is fixed, so a result depends neither on the number of threads nor on
// whether the splits of a tile ran one after the other or side by side.

namespace drover::kernels::DROVER_KERNEL_ISA {

inline constexpr int kSplitKeys = 256;
static_assert(kSplitKeys % kChunkKeys == 0);

// Rows [row_begin, row_begin + num_rows) of one sequence and key-value head,
// and the splits [split_begin, split_end) of the keys. Row r is query token
// r / group and query head r % group of the head's group.
struct AttentionTask {
  int32_t seq;
  int32_t kv_head;
  int32_t row_begin;
  int32_t num_rows;
  int32_t split_begin;
  int32_t split_end;
};

// Query rows with their softmax and output so far.
struct TileState {
  RunningSoftmax softmax[kTileRows];
  alignas(64) float out[kTileRows * kMaxHeadDim];  // [num_rows, padded_dim]

  void Clear(int num_rows, int padded_dim) {
    for (int r = 0; r < num_rows; ++r) softmax[r] = {kMinusInfinity, 0.0f};
    __builtin_memset(out, 0, sizeof(float) * num_rows * padded_dim);
  }
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
  int32_t position(const AttentionTask& task, int32_t row) const {
    return args.kv_len[task.seq] - num_queries(task.seq) +
           (task.row_begin + row) / group;
  }
  // Keys [visible_begin, visible_end) are what a row sees.
  int32_t visible_end(const AttentionTask& task, int32_t row) const {
    return position(task, row) + 1;
  }
  int32_t visible_begin(const AttentionTask& task, int32_t row) const {
    const int32_t begin = visible_end(task, row) - args.window;
    return args.window > 0 && begin > 0 ? begin : 0;
  }
  int64_t query_offset(const AttentionTask& task, int32_t row,
                       int64_t stride) const {
    const int32_t r = task.row_begin + row;
    const int64_t token = args.query_start[task.seq] + r / group;
    const int64_t head = task.kv_head * group + r % group;
    return token * stride + head * args.head_dim;
  }
  const T* block(const T* cache, const AttentionTask& task,
                 int32_t index) const {
    const int64_t table = int64_t{task.seq} * args.max_blocks_per_seq;
    const int64_t block = args.block_tables[table + index];
    return cache + (block * args.num_kv_heads + task.kv_head) *
                       int64_t{kKvBlockSize} * args.head_dim;
  }
};

// The tile's queries as float32, multiplied by the scale, padded with zeros.
template <typename T>
void LoadQueries(const AttentionCall<T>& call, const AttentionTask& task,
                 float* q) {
  const int dim = call.args.head_dim;
  for (int r = 0; r < task.num_rows; ++r) {
    const T* row = call.args.q + call.query_offset(task, r, call.args.q_stride);
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

template <typename T>
void PrefetchBlock(const T* block, int dim) {
  const char* bytes = reinterpret_cast<const char*>(block);
  const int size = kKvBlockSize * dim * static_cast<int>(sizeof(T));
  for (int i = 0; i < size; i += 64) __builtin_prefetch(bytes + i);
}

// Lets the tile's rows see the keys [begin, end) of one chunk.
template <typename T>
void AttendChunk(const AttentionCall<T>& call, const AttentionTask& task,
                 const float* q, int32_t begin, int32_t end, TileState& state) {
  alignas(64) float scores[kTileRows * kChunkKeys];
  const int32_t first_block = begin / kKvBlockSize;
  const int32_t end_block = (end + kKvBlockSize - 1) / kKvBlockSize;
  for (int32_t b = first_block; b < end_block; ++b) {
    PrefetchBlock(call.block(call.args.v_cache, task, b), call.args.head_dim);
    WithPaddedBlock(call, call.block(call.args.k_cache, task, b),
                    [&](const auto* keys) {
                      DotBlock(q, task.num_rows, keys, call.padded_dim,
                               scores + (b - first_block) * kKvBlockSize);
                    });
  }
  for (int r = 0; r < task.num_rows; ++r) {
    const int32_t visible_begin = call.visible_begin(task, r) - begin;
    const int32_t visible_end = call.visible_end(task, r) - begin;
    UpdateSoftmax(visible_begin < kChunkKeys ? visible_begin : kChunkKeys,
                  visible_end > 0 ? visible_end : 0, call.padded_dim,
                  scores + r * kChunkKeys, state.softmax[r],
                  state.out + r * call.padded_dim);
  }
  for (int32_t b = first_block; b < end_block; ++b) {
    const int32_t keys_left = end - b * kKvBlockSize;
    WithPaddedBlock(
        call, call.block(call.args.v_cache, task, b), [&](const auto* values) {
          AccumulateBlock(scores + (b - first_block) * kKvBlockSize,
                          task.num_rows, values,
                          keys_left < kKvBlockSize ? keys_left : kKvBlockSize,
                          call.padded_dim, state.out);
        });
  }
}

// The tile's softmax over the keys of one split alone.
template <typename T>
void AttendSplit(const AttentionCall<T>& call, const AttentionTask& task,
                 const float* q, int32_t split, TileState& state) {
  state.Clear(task.num_rows, call.padded_dim);
  const int32_t tile_begin = call.visible_begin(task, 0);
  const int32_t tile_end = call.visible_end(task, task.num_rows - 1);
  int32_t begin = split * kSplitKeys;
  const int32_t end =
      begin + kSplitKeys < tile_end ? begin + kSplitKeys : tile_end;
  for (; begin < end; begin += kChunkKeys) {
    if (begin + kChunkKeys <= tile_begin) continue;
    AttendChunk(call, task, q, begin,
                begin + kChunkKeys < end ? begin + kChunkKeys : end, state);
  }
}

template <typename T>
void MergeTile(const AttentionCall<T>& call, const AttentionTask& task,
               const TileState& later, TileState& state) {
  for (int r = 0; r < task.num_rows; ++r) {
    const int offset = r * call.padded_dim;
    MergeSoftmax(later.softmax[r], later.out + offset, call.padded_dim,
                 state.softmax[r], state.out + offset);
  }
}

template <typename T>
void WriteTile(const AttentionCall<T>& call, const AttentionTask& task,
               const TileState& state) {
  const int dim = call.args.head_dim;
  const int64_t stride = int64_t{call.args.num_heads} * dim;
  for (int r = 0; r < task.num_rows; ++r) {
    T* out = call.args.out + call.query_offset(task, r, stride);
    const float* sums = state.out + r * call.padded_dim;
    const float inverse = 1.0f / state.softmax[r].sum;
    ForVectors(0, dim, [&](int64_t d, auto lanes) {
      Store(Load(sums + d) * inverse, out + d, lanes);
    });
  }
}

// All splits of a tile on one thread.
template <typename T>
void AttendTile(const AttentionCall<T>& call, const AttentionTask& task) {
  alignas(64) float q[kTileRows * kMaxHeadDim];
  TileState state;
  TileState later;
  LoadQueries(call, task, q);
  AttendSplit(call, task, q, task.split_begin, state);
  for (int32_t split = task.split_begin + 1; split < task.split_end; ++split) {
    AttendSplit(call, task, q, split, later);
    MergeTile(call, task, later, state);
  }
  WriteTile(call, task, state);
}

// Writes the call's tiles to `tasks`, unless it is null; returns their number.
// Within a sequence and head the longest come first.
template <typename T>
int64_t ListTiles(const AttentionCall<T>& call, AttentionTask* tasks) {
  int64_t count = 0;
  for (int32_t seq = 0; seq < call.args.num_seqs; ++seq) {
    const int32_t rows = call.num_queries(seq) * call.group;
    const int32_t num_tiles = (rows + kTileRows - 1) / kTileRows;
    if (tasks == nullptr) {
      count += int64_t{num_tiles} * call.args.num_kv_heads;
      continue;
    }
    for (int32_t head = 0; head < call.args.num_kv_heads; ++head) {
      for (int32_t tile = num_tiles - 1; tile >= 0; --tile) {
        const int32_t begin = tile * kTileRows;
        const int32_t left = rows - begin;
        AttentionTask task = {
            seq, head, begin, left < kTileRows ? left : kTileRows, 0, 0};
        const int32_t last = call.visible_end(task, task.num_rows - 1) - 1;
        task.split_begin = call.visible_begin(task, 0) / kSplitKeys;
        task.split_end = last / kSplitKeys + 1;
        tasks[count++] = task;
      }
    }
  }
  return count;
}

template <typename T>
void PagedAttention(const PagedAttentionArgs<T>& args) {
  const AttentionCall<T> call = {
      args, args.num_heads / args.num_kv_heads,
      (args.head_dim + kLanes - 1) / kLanes * kLanes};
  const int64_t num_tiles = ListTiles(call, nullptr);
  auto* tiles = static_cast<AttentionTask*>(
      ThreadScratch(sizeof(AttentionTask) * num_tiles));
  ListTiles(call, tiles);
  int64_t num_splits = 0;
  for (int64_t i = 0; i < num_tiles; ++i) {
    num_splits += tiles[i].split_end - tiles[i].split_begin;
  }
  const int64_t work = num_splits * kSplitKeys * args.head_dim;
  ParallelForDynamic(num_tiles, work,
                     [&](int64_t i) { AttendTile(call, tiles[i]); });
}

}  // namespace drover::kernels::DROVER_KERNEL_ISA
