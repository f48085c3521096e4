#include "scheduler/block_allocator.h"

#include "base/check.h"

namespace drover {

BlockAllocator::BlockAllocator(int32_t num_blocks)
    : is_free_(static_cast<size_t>(num_blocks), true) {
  DROVER_CHECK(num_blocks > 1, "no block beside the scratch block");
  is_free_[kScratchBlock] = false;
  for (int32_t block = num_blocks - 1; block > kScratchBlock; --block) {
    free_.push_back(block);
  }
}

void BlockAllocator::Allocate(int32_t count, std::vector<int32_t>& blocks) {
  DROVER_CHECK(count <= num_free());
  for (int32_t i = 0; i < count; ++i) {
    const int32_t block = free_.back();
    free_.pop_back();
    is_free_[static_cast<size_t>(block)] = false;
    blocks.push_back(block);
  }
}

void BlockAllocator::Free(const std::vector<int32_t>& blocks) {
  for (const int32_t block : blocks) {
    DROVER_CHECK(block > kScratchBlock && block <= num_total());
    DROVER_CHECK(!is_free_[static_cast<size_t>(block)], "block freed twice");
    is_free_[static_cast<size_t>(block)] = true;
    free_.push_back(block);
  }
}

}  // namespace drover
