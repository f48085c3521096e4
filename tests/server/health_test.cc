#include "server/health.h"

#include "gtest/gtest.h"

namespace drover {
namespace {

bool Live() { return true; }
bool Stalled() { return false; }

TEST(HealthTest, StartingIsLiveButNotReady) {
  const Health health;
  EXPECT_TRUE(health.IsLive());
  EXPECT_FALSE(health.IsReady());
  EXPECT_EQ(health.Describe(), "starting");
}

TEST(HealthTest, ReadyIsBoth) {
  Health health;
  health.MarkReady(Live);
  EXPECT_TRUE(health.IsLive());
  EXPECT_TRUE(health.IsReady());
}

TEST(HealthTest, AStalledEngineIsNeither) {
  Health health;
  health.MarkReady(Stalled);
  EXPECT_FALSE(health.IsLive());
  EXPECT_FALSE(health.IsReady());
  EXPECT_EQ(health.Describe(), "stalled");
}

TEST(HealthTest, DrainingIsLiveButNotReadyAndNoWayBack) {
  Health health;
  health.MarkReady(Live);
  health.MarkDraining();
  EXPECT_TRUE(health.IsLive());
  EXPECT_FALSE(health.IsReady());
  health.MarkReady(Live);
  EXPECT_EQ(health.state(), Health::State::kDraining);
}

TEST(HealthTest, ADrainThatBeginsBeforeReadyIsNotForgotten) {
  Health health;
  health.MarkDraining();
  health.MarkReady(Live);
  EXPECT_FALSE(health.IsReady());
}

TEST(HealthTest, FailedIsForGood) {
  Health health;
  health.MarkReady(Live);
  health.MarkFailed();
  health.MarkDraining();
  EXPECT_EQ(health.state(), Health::State::kFailed);
  EXPECT_FALSE(health.IsLive());
  EXPECT_FALSE(health.IsReady());
}

TEST(HealthTest, AfterStopProbingTheEngineIsNotAsked) {
  Health health;
  int num_probes = 0;
  health.MarkReady([&num_probes] { return ++num_probes > 0; });
  EXPECT_TRUE(health.IsLive());
  health.StopProbing();
  EXPECT_TRUE(health.IsLive());
  EXPECT_EQ(num_probes, 1);
}

}  // namespace
}  // namespace drover
