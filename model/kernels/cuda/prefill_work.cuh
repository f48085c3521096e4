#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "model/kernels/cuda/attention_args.cuh"
#include "model/kernels/cuda/prefill_rows.cuh"
#include "model/kernels/cuda/reduce.cuh"

// How items of rows are shared among thread blocks, of which each
// multiprocessor has one. Where there are many, or about as many for each, a
// block has one after the other. Else their keys are divided: items of about
// one length into as many parts each, if that leaves few blocks without; other
// items as if their tiles of keys lay in one row, of which each block gets as
// long a stretch.

namespace drover::kernels::cuda {

inline constexpr int32_t kMaxDividedItems = 384;
inline constexpr int32_t kMinTiles = 2;  // of a part, so that joining pays

// Of the items that a block shares with others: its first and its last.
inline constexpr int32_t kPartsPerBlock = 2;

// Whether the keys of so many items are to be divided.
inline bool IsDivided(int32_t num_items, int32_t num_blocks) {
  constexpr double kJoinCost = 0.1;  // of the time of an item
  const double rounds = static_cast<double>(num_items) / num_blocks;
  return num_items <= kMaxDividedItems &&
         rounds + kJoinCost < std::ceil(rounds);
}

// In shared memory.
struct Division {
  // Of all tiles, an item's first; and where the last one's end.
  int32_t first_tile[kMaxDividedItems + 1];
  int32_t parts_per_item;  // 0: each block gets a stretch of all tiles
};

// An item, or those of its keys that are this thread block's.
struct Piece {
  RowBlock rows;
  KeyRange keys;
  int32_t item = 0;
  // Of the thread blocks that share the item; the same where it is not shared.
  int32_t first_block = 0;
  int32_t last_block = 0;

  __device__ bool is_whole() const { return first_block == last_block; }
};

// Division's; least, most: tiles of an item.
__host__ __device__ inline int32_t EvenParts(int32_t num_items,
                                             int32_t num_blocks, int32_t least,
                                             int32_t most) {
  if (4 * most > 5 * least) return 0;
  const int32_t room = num_blocks / num_items;
  const int32_t parts = std::min(room, std::max(1, least / kMinTiles));
  const bool is_enough =
      parts < room || 8 * parts * num_items >= 7 * num_blocks;
  return is_enough ? parts : 0;
}

// Of the thread blocks as many as let both kinds of attention end soonest, if
// decodes have the multiprocessors that are left and, at last, all of them. By
// what was measured on an H200 with heads of 128.
template <int kKeys, typename T>
int32_t BlocksBesideDecodes(const PrefillAttentionArgs<T>& args,
                            const RowItems& items, int32_t num_blocks) {
  constexpr double kTileUs = 1.8;        // of 128 rows and kKeys keys
  constexpr double kItemUs = 7.0;        // besides
  constexpr double kPartUs = 6.0;        // more, where there are parts
  constexpr double kBytesPerUs = 5.5e4;  // of one multiprocessor
  constexpr double kMostBytesPerUs = 4.2e6;
  const double num_tiles = static_cast<double>(args.num_pairs) *
                           items.num_kv_heads /
                           (items.tokens_per_block * kKeys);
  const double bytes = static_cast<double>(args.num_keys_beside) *
                       items.num_kv_heads * args.attention.head_dim * 4;
  const int32_t count = items.count();
  const double item_tiles = num_tiles / count;
  int32_t best = num_blocks;
  double least_us = std::numeric_limits<double>::infinity();
  for (int32_t blocks = num_blocks; blocks > 0; blocks -= 4) {
    double us = 0.0;
    if (!IsDivided(count, blocks)) {
      us = (count + blocks - 1) / blocks * (item_tiles * kTileUs + kItemUs);
    } else {
      const auto tiles = static_cast<int32_t>(item_tiles);
      const int32_t parts =
          items.num_seqs == 1 ? EvenParts(count, blocks, tiles, tiles) : 0;
      us = kPartUs + (parts > 0 ? item_tiles / parts * kTileUs + kItemUs
                                : num_tiles / blocks * kTileUs + 2 * kItemUs);
    }
    const double bytes_left = bytes - us * kBytesPerUs * (num_blocks - blocks);
    us += std::max(0.0, bytes_left) / kMostBytesPerUs;
    if (us >= least_us) continue;
    least_us = us;
    best = blocks;
  }
  return best;
}

// One thread block's work; kKeys to a tile.
template <typename T, int kKeys>
class PrefillWork {
 public:
  // Counts the tiles of items that are to be divided. All threads.
  static __device__ void Divide(const PagedAttentionArgs<T>& args,
                                const RowItems& items, Division& division);

  // division: null where items are whole.
  __device__ PrefillWork(const PagedAttentionArgs<T>& args,
                         const RowItems& items, const Division* division)
      : args_(args), items_(items), division_(division) {
    if (division == nullptr) return;
    num_tiles_ = division->first_tile[items.count()];
    num_holders_ = min(min(num_blocks_, num_tiles_),
                       max(items.count(), num_tiles_ / kMinTiles));
    if (division->parts_per_item > 0 || block_ >= num_holders_) return;
    tile_ = FirstTile(block_);
    end_tile_ = FirstTile(block_ + 1);
    item_ = StretchOf(tile_, division->first_tile, items.count());
  }

  // Whether there is another piece.
  __device__ bool Next(Piece& piece) {
    if (division_ == nullptr) return NextItem(piece);
    if (division_->parts_per_item > 0) return OnlyPart(piece);
    return NextOfStretch(piece);
  }

  // Which of all places for parts is that of `block`, one of the piece's.
  __device__ int32_t PlaceOf(const Piece& piece, int32_t block) const {
    const bool is_second = division_->parts_per_item == 0 &&
                           FirstTile(block) < division_->first_tile[piece.item];
    return kPartsPerBlock * block + (is_second ? 1 : 0);
  }

 private:
  // Forth and back, so that who has had a long one gets a short one.
  __device__ bool NextItem(Piece& piece) {
    for (; item_ < items_.count(); item_ += num_blocks_) {
      const bool is_back = item_ / num_blocks_ % 2 == 1;
      piece.item = item_ + (is_back ? num_blocks_ - 1 - block_ : block_);
      if (piece.item >= items_.count()) continue;
      piece.rows = items_.Find(args_, piece.item);
      if (piece.rows.num_rows == 0) continue;
      piece.keys = KeysOfRows<kKeys>(args_, piece.rows);
      item_ += num_blocks_;
      return true;
    }
    return false;
  }

  __device__ bool OnlyPart(Piece& piece) {
    const int32_t num_parts = division_->parts_per_item;
    piece.item = block_ / num_parts;
    if (piece.item >= items_.count() || item_ > 0) return false;
    item_ = items_.count();
    piece.first_block = piece.item * num_parts;
    piece.last_block = piece.first_block + num_parts - 1;
    piece.rows = items_.Find(args_, piece.item);
    const int32_t part = block_ - piece.first_block;
    const int32_t num_tiles = division_->first_tile[piece.item + 1] -
                              division_->first_tile[piece.item];
    TakeTiles(part * num_tiles / num_parts, (part + 1) * num_tiles / num_parts,
              piece);
    return true;
  }

  __device__ bool NextOfStretch(Piece& piece) {
    const int32_t* const first_tile = division_->first_tile;
    if (tile_ >= end_tile_) return false;
    while (first_tile[item_ + 1] <= tile_) ++item_;
    const int32_t begin = first_tile[item_];
    const int32_t end = first_tile[item_ + 1];
    piece.item = item_;
    piece.first_block = BlockOf(begin);
    piece.last_block = BlockOf(end - 1);
    piece.rows = items_.Find(args_, item_);
    TakeTiles(tile_ - begin, min(end, end_tile_) - begin, piece);
    tile_ = end;
    return true;
  }

  // Of the item's tiles.
  __device__ void TakeTiles(int32_t begin, int32_t end, Piece& piece) const {
    const KeyRange keys = KeysOfRows<kKeys>(args_, piece.rows);
    piece.keys = {keys.begin + begin * kKeys,
                  min(keys.end, keys.begin + end * kKeys)};
  }

  // Of a block's stretch; and whose stretch has `tile`.
  __device__ int32_t FirstTile(int32_t block) const {
    return block * num_tiles_ / num_holders_;
  }
  __device__ int32_t BlockOf(int32_t tile) const {
    return ((tile + 1) * num_holders_ - 1) / num_tiles_;
  }

  const PagedAttentionArgs<T>& args_;
  const RowItems& items_;
  const Division* const division_;
  const int32_t block_ = static_cast<int32_t>(blockIdx.x);
  const int32_t num_blocks_ = static_cast<int32_t>(gridDim.x);
  int32_t num_tiles_ = 0;
  int32_t num_holders_ = 1;  // blocks that get tiles, each at least one
  int32_t item_ = 0;         // the next
  int32_t tile_ = 0;         // likewise
  int32_t end_tile_ = 0;
};

template <typename T, int kKeys>
__device__ void PrefillWork<T, kKeys>::Divide(const PagedAttentionArgs<T>& args,
                                              const RowItems& items,
                                              Division& division) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t num_items = items.count();
  int32_t* const counts = division.first_tile + 1;
  for (int32_t item = thread; item < num_items;
       item += static_cast<int32_t>(blockDim.x)) {
    const RowBlock rows = items.Find(args, item);
    counts[item] = 0;
    if (rows.num_rows == 0) continue;
    const KeyRange keys = KeysOfRows<kKeys>(args, rows);
    // Rows that see nothing are to be stored, too.
    counts[item] = max(1, (keys.end - keys.begin + kKeys - 1) / kKeys);
  }
  __syncthreads();
  if (thread < 32) {
    int32_t total = 0;
    int32_t least = counts[0];
    int32_t most = counts[0];
    for (int32_t begin = 0; begin < num_items; begin += 32) {
      const int32_t item = begin + thread;
      const int32_t count = item < num_items ? counts[item] : 0;
      if (item < num_items) {
        least = min(least, count);
        most = max(most, count);
      }
      int32_t sum = count;
      for (int distance = 1; distance < 32; distance *= 2) {
        const int32_t before = __shfl_up_sync(kAllLanes, sum, distance);
        if (thread >= distance) sum += before;
      }
      if (item < num_items) counts[item] = total + sum;
      total += __shfl_sync(kAllLanes, sum, 31);
    }
    least = __reduce_min_sync(kAllLanes, least);
    most = __reduce_max_sync(kAllLanes, most);
    if (thread == 0) {
      division.first_tile[0] = 0;
      division.parts_per_item =
          EvenParts(num_items, static_cast<int32_t>(gridDim.x), least, most);
    }
  }
  __syncthreads();
}

}  // namespace drover::kernels::cuda
