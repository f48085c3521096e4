#pragma once

#include "model/kernels/cpu/attention_split.h"
#include "model/kernels/cpu/parallel.h"
#include "model/kernels/cpu/scratch.h"

// Paged attention: cuts the batch into tiles of query rows and a tile's keys
// into splits, and folds the splits in ascending order. A thread takes a whole
// tile, or, where there are too few tiles for the threads, a split. Either way
// each query's result comes from the same operations, so it depends neither on
// the threads nor on the rest of the batch.

namespace drover::kernels::DROVER_KERNEL_ISA {

// The call's tiles, in thread scratch, and room for the state of each split
// where splits run side by side.
struct AttentionPlan {
  int64_t num_tiles;
  int64_t num_splits;  // of all tiles
  Tile* tiles;         // [num_tiles]
  float* states;       // [num_splits, floats_per_state], or null
  int64_t floats_per_state;
};

template <typename T>
int64_t CountTiles(const AttentionCall<T>& call) {
  int64_t count = 0;
  for (int32_t seq = 0; seq < call.args.num_seqs; ++seq) {
    const int32_t rows = call.num_queries(seq) * call.group;
    count += (rows + kTileRows - 1) / kTileRows;
  }
  return count * call.args.num_kv_heads;
}

// Fills plan.tiles. Within a sequence and head the longest come first.
template <typename T>
void ListTiles(const AttentionCall<T>& call, AttentionPlan& plan) {
  Tile* next = plan.tiles;
  for (int32_t seq = 0; seq < call.args.num_seqs; ++seq) {
    const int32_t rows = call.num_queries(seq) * call.group;
    const int32_t num_tiles = (rows + kTileRows - 1) / kTileRows;
    for (int32_t head = 0; head < call.args.num_kv_heads; ++head) {
      for (int32_t i = num_tiles - 1; i >= 0; --i) {
        const int32_t begin = i * kTileRows;
        Tile tile = {seq, head, begin,          Min(kTileRows, rows - begin),
                     0,   0,    plan.num_splits};
        tile.split_begin = call.visible_begin(tile, 0) / kSplitKeys;
        const int32_t end = call.visible_end(tile, tile.num_rows - 1);
        tile.split_end = (end + kSplitKeys - 1) / kSplitKeys;
        plan.num_splits += tile.num_splits();
        *next++ = tile;
      }
    }
  }
}

// Tiles per thread above which tiles alone keep the threads busy.
inline constexpr int64_t kTilesPerThread = 4;
// States beyond this size are not worth their memory.
inline constexpr size_t kMaxStateBytes = size_t{32} << 20;

template <typename T>
AttentionPlan PlanAttention(const AttentionCall<T>& call) {
  AttentionPlan plan = {};
  plan.num_tiles = CountTiles(call);
  const size_t tile_bytes = (plan.num_tiles * sizeof(Tile) + 63) / 64 * 64;
  plan.tiles = static_cast<Tile*>(ThreadScratch(tile_bytes));
  ListTiles(call, plan);
  if (plan.num_tiles >= kTilesPerThread * NumThreads() ||
      plan.num_splits == plan.num_tiles) {
    return plan;
  }
  static_assert(sizeof(RunningSoftmax) == 2 * sizeof(float));
  plan.floats_per_state = kTileRows * (call.padded_dim + 2);
  const size_t state_bytes =
      sizeof(float) * plan.num_splits * plan.floats_per_state;
  if (state_bytes > kMaxStateBytes) return plan;
  auto* memory = static_cast<char*>(ThreadScratch(tile_bytes + state_bytes));
  plan.tiles = reinterpret_cast<Tile*>(memory);
  plan.states = reinterpret_cast<float*>(memory + tile_bytes);
  plan.num_splits = 0;
  ListTiles(call, plan);
  return plan;
}

// All splits of a tile on one thread.
template <typename T>
void AttendTile(const AttentionCall<T>& call, const Tile& tile) {
  alignas(64) float q[kTileRows * kMaxHeadDim];
  TileMemory memory;
  TileMemory later_memory;
  const TileState state = memory.state();
  const TileState later = later_memory.state();
  LoadQueries(call, tile, q);
  AttendSplit(call, tile, q, tile.split_begin, state);
  for (int32_t split = tile.split_begin + 1; split < tile.split_end; ++split) {
    AttendSplit(call, tile, q, split, later);
    MergeTile(call, tile, later, state);
  }
  WriteTile(call, tile, state);
}

inline TileState SplitState(const AttentionPlan& plan, int64_t split) {
  float* memory = plan.states + split * plan.floats_per_state;
  return {reinterpret_cast<RunningSoftmax*>(memory), memory + 2 * kTileRows};
}

// Splits side by side, then tile by tile their sum.
template <typename T>
void AttendSplits(const AttentionCall<T>& call, const AttentionPlan& plan,
                  int64_t work) {
  ParallelForDynamic(plan.num_splits, work, [&](int64_t split) {
    const Tile* tile = plan.tiles;
    while (split >= tile->first_split + tile->num_splits()) ++tile;
    alignas(64) float q[kTileRows * kMaxHeadDim];
    LoadQueries(call, *tile, q);
    AttendSplit(
        call, *tile, q,
        tile->split_begin + static_cast<int32_t>(split - tile->first_split),
        SplitState(plan, split));
  });
  ParallelFor(plan.num_tiles, work, [&](int64_t i) {
    const Tile& tile = plan.tiles[i];
    const TileState state = SplitState(plan, tile.first_split);
    for (int32_t split = 1; split < tile.num_splits(); ++split) {
      MergeTile(call, tile, SplitState(plan, tile.first_split + split), state);
    }
    WriteTile(call, tile, state);
  });
}

template <typename T>
void PagedAttention(const PagedAttentionArgs<T>& args) {
  const AttentionCall<T> call = {
      args, args.num_heads / args.num_kv_heads,
      (args.head_dim + kLanes - 1) / kLanes * kLanes};
  const AttentionPlan plan = PlanAttention(call);
  const int64_t work = plan.num_splits * kSplitKeys * args.head_dim;
  if (plan.states != nullptr) return AttendSplits(call, plan, work);
  ParallelForDynamic(plan.num_tiles, work,
                     [&](int64_t i) { AttendTile(call, plan.tiles[i]); });
}

}  // namespace drover::kernels::DROVER_KERNEL_ISA
