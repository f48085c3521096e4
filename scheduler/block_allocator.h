#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/batch_plan.h"

namespace drover {

// Hands out KV block ids. Knows nothing of sequences or memory. Block 0 is
// scratch and never handed out. Single-threaded.
class BlockAllocator {
 public:
  // `num_blocks` counts the scratch block.
  explicit BlockAllocator(int32_t num_blocks);

  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  // Blocks that can be handed out at all.
  int32_t num_total() const {
    return static_cast<int32_t>(is_free_.size()) - 1;
  }

  // Appends `count` ids to `blocks`. `count` ≤ num_free().
  void Allocate(int32_t count, std::vector<int32_t>& blocks);

  // Each id must be out; a block freed twice is a bug of ours.
  void Free(const std::vector<int32_t>& blocks);

  // Blocks that hold `num_tokens` tokens.
  static int32_t BlocksFor(int32_t num_tokens) {
    return (num_tokens + kBlockSize - 1) / kBlockSize;
  }

 private:
  std::vector<int32_t> free_;  // a stack: the block freed last is still warm
  std::vector<bool> is_free_;
};

}  // namespace drover
