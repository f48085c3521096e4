#include "scheduler/executor.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

TEST(NumFullLengthSequencesTest, IsCountedInWholeBlocksWithoutTheScratch) {
  // 20 tokens take two blocks of 16.
  ExecutorInfo info = {
      .num_slots = 8, .num_blocks = 1 + 6, .max_sequence_length = 20};
  EXPECT_EQ(NumFullLengthSequences(info), 3);
  info.num_blocks = 1 + 7;
  EXPECT_EQ(NumFullLengthSequences(info), 3);
  info.num_blocks = 1 + 1;
  EXPECT_EQ(NumFullLengthSequences(info), 0);
}

TEST(NumFullLengthSequencesTest, IsNoMoreThanCanRun) {
  EXPECT_EQ(NumFullLengthSequences(
                {.num_slots = 2, .num_blocks = 100, .max_sequence_length = 16}),
            2);
  EXPECT_EQ(NumFullLengthSequences({}), 0);
}

}  // namespace
}  // namespace drover
