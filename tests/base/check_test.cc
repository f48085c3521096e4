#include "base/check.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

TEST(CheckTest, AHeldConditionCostsNothingAndIsEvaluatedOnce) {
  int evaluated = 0;
  DROVER_CHECK(++evaluated == 1);
  EXPECT_EQ(evaluated, 1);
}

TEST(CheckDeathTest, AFailedConditionSaysWhereAndWhy) {
  const int blocks = 3;
  EXPECT_DEATH(DROVER_CHECK(blocks == 4, "a block is lost"),
               "check_test.cc:[0-9]+: check failed: blocks == 4: a block is "
               "lost");
}

}  // namespace
}  // namespace drover
