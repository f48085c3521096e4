#include "scheduler/block_allocator.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace drover {
namespace {

TEST(BlockAllocatorTest, HandsOutEveryBlockButScratchOnce) {
  BlockAllocator allocator(/*num_blocks=*/9);
  ASSERT_EQ(allocator.num_total(), 8);
  std::vector<int32_t> blocks;
  allocator.Allocate(8, blocks);
  EXPECT_EQ(allocator.num_free(), 0);
  EXPECT_EQ(std::set<int32_t>(blocks.begin(), blocks.end()),
            (std::set<int32_t>{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST(BlockAllocatorTest, FreedBlocksComeBack) {
  BlockAllocator allocator(/*num_blocks=*/4);
  std::vector<int32_t> blocks;
  allocator.Allocate(3, blocks);
  allocator.Free({blocks[1]});
  std::vector<int32_t> again;
  allocator.Allocate(1, again);
  EXPECT_EQ(again[0], blocks[1]);
}

TEST(BlockAllocatorTest, CountsBlocksForTokens) {
  EXPECT_EQ(BlockAllocator::BlocksFor(0), 0);
  EXPECT_EQ(BlockAllocator::BlocksFor(1), 1);
  EXPECT_EQ(BlockAllocator::BlocksFor(16), 1);
  EXPECT_EQ(BlockAllocator::BlocksFor(17), 2);
}

TEST(BlockAllocatorDeathTest, FreeingTwiceIsOurBug) {
  BlockAllocator allocator(/*num_blocks=*/4);
  std::vector<int32_t> blocks;
  allocator.Allocate(1, blocks);
  allocator.Free(blocks);
  EXPECT_DEATH(allocator.Free(blocks), "block freed twice");
}

}  // namespace
}  // namespace drover
