#include "scheduler/prefix_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PrefixTableTest : public ::testing::Test {
 protected:
  static SharedPrefix Prefix(size_t num_bytes) {
    return std::make_shared<const PromptPrefix>(
        PromptPrefix{.num_tokens = 1, .rows = std::string(num_bytes, 'x')});
  }

  // What a plan made now drops.
  std::vector<int64_t> Drops() {
    table_.Trim(plan_);
    return std::exchange(plan_, {}).prefix_drops;
  }

  PrefixTable table_{/*max_bytes=*/10};
  BatchPlan plan_;
};

TEST_F(PrefixTableTest, OnlyTheFirstUserBringsTheRows) {
  const SharedPrefix prefix = Prefix(4);
  const int64_t handle = table_.Acquire(prefix, plan_);
  ASSERT_EQ(plan_.prefix_loads.size(), 1u);
  EXPECT_EQ(plan_.prefix_loads[0].handle, handle);
  EXPECT_EQ(plan_.prefix_loads[0].prefix, prefix);
  BatchPlan later;
  EXPECT_EQ(table_.Acquire(prefix, later), handle);
  EXPECT_THAT(later.prefix_loads, IsEmpty());
}

TEST_F(PrefixTableTest, EqualRowsOfTwoOwnersAreTwoPrefixes) {
  EXPECT_NE(table_.Acquire(Prefix(4), plan_), table_.Acquire(Prefix(4), plan_));
}

TEST_F(PrefixTableTest, APlanCarriesNoMoreThanAMessageHolds) {
  const SharedPrefix large = Prefix(kMaxPrefixBytes), other = Prefix(1);
  EXPECT_TRUE(table_.MayAcquire(large, plan_));
  table_.Acquire(large, plan_);
  EXPECT_TRUE(table_.MayAcquire(large, plan_)) << "it is there";
  EXPECT_FALSE(table_.MayAcquire(other, plan_));
  EXPECT_TRUE(table_.MayAcquire(other, BatchPlan()));
}

TEST_F(PrefixTableTest, WhatIsInUseStaysHoweverLarge) {
  table_.Acquire(Prefix(40), plan_);
  table_.Acquire(Prefix(50), plan_);
  EXPECT_THAT(Drops(), IsEmpty());
}

TEST_F(PrefixTableTest, WhatFitsStaysWhenItsLastUserLeaves) {
  const SharedPrefix prefix = Prefix(10);
  const int64_t handle = table_.Acquire(prefix, plan_);
  table_.Acquire(prefix, plan_);
  table_.Release(prefix);
  table_.Release(prefix);
  EXPECT_THAT(Drops(), IsEmpty());
  EXPECT_EQ(table_.Acquire(prefix, plan_), handle);
  EXPECT_THAT(plan_.prefix_loads, IsEmpty());
}

TEST_F(PrefixTableTest, TheLeastRecentlyUsedLeavesFirst) {
  const SharedPrefix a = Prefix(4), b = Prefix(4), c = Prefix(4);
  table_.Acquire(a, plan_);
  const int64_t handle_b = table_.Acquire(b, plan_);
  const int64_t handle_c = table_.Acquire(c, plan_);
  table_.Acquire(a, plan_);  // once more
  for (const SharedPrefix& prefix : {a, a, b, c}) table_.Release(prefix);
  EXPECT_THAT(Drops(), ElementsAre(handle_b));
  EXPECT_EQ(table_.num_held(), 2);
  EXPECT_GT(table_.Acquire(b, plan_), handle_c) << "handles are used once";
  table_.Release(b);
  EXPECT_THAT(Drops(), ElementsAre(handle_c));
}

TEST_F(PrefixTableTest, WhatIsInUseDoesNotTakeTheRoomOfTheRest) {
  const SharedPrefix large = Prefix(100), small = Prefix(10);
  const int64_t handle = table_.Acquire(large, plan_);
  table_.Acquire(small, plan_);
  table_.Release(small);
  EXPECT_THAT(Drops(), IsEmpty());
  table_.Release(large);
  EXPECT_THAT(Drops(), ElementsAre(handle));
}

}  // namespace
}  // namespace drover
