#include "sharding/step_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// How many looks find nothing before one finds a rank.
int NumLooksUntilStuck(StepWatch& watch) {
  int num_looks = 0;
  while (watch.Look().empty() && num_looks < 100) ++num_looks;
  return num_looks;
}

TEST(StepWatchTest, ARankWithoutPlansIsNotStuck) {
  StepWatch watch(2);
  EXPECT_EQ(NumLooksUntilStuck(watch), 100);
  watch.OnSubmit();
  watch.OnResult(0);
  watch.OnResult(1);
  EXPECT_EQ(NumLooksUntilStuck(watch), 100);
}

TEST(StepWatchTest, AStepThatDoesNotEndIsNoticedAfterSoManyLooks) {
  StepWatch watch(1);
  watch.OnSubmit();
  EXPECT_EQ(NumLooksUntilStuck(watch), StepWatch::kMaxLooks);
}

TEST(StepWatchTest, ALongStepHasItsTimeAfterTheOneBeforeIt) {
  StepWatch watch(1);
  watch.OnSubmit();
  watch.OnSubmit();
  for (int i = 0; i < StepWatch::kMaxLooks; ++i) {
    EXPECT_THAT(watch.Look(), IsEmpty());
  }
  watch.OnResult(0);
  EXPECT_THAT(watch.Look(), IsEmpty());  // sees the result
  EXPECT_EQ(NumLooksUntilStuck(watch), StepWatch::kMaxLooks);
}

TEST(StepWatchTest, ItDoesNotMatterHowFarARankIsBehindIfItGoesOn) {
  StepWatch watch(1);
  for (int i = 0; i < 100; ++i) watch.OnSubmit();
  for (int i = 0; i < 99; ++i) {
    EXPECT_THAT(watch.Look(), IsEmpty());
    watch.OnResult(0);
  }
  EXPECT_THAT(watch.Look(), IsEmpty());
}

TEST(StepWatchTest, TheRanksThatAreStuckAreNamed) {
  StepWatch watch(3);
  watch.OnSubmit();
  watch.OnResult(1);
  NumLooksUntilStuck(watch);
  EXPECT_THAT(watch.Look(), ElementsAre(0, 2));
}

}  // namespace
}  // namespace drover
