#include "server/client/bench/goodput_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/testing/status_matchers.h"

namespace drover::bench {
namespace {

using ::testing::HasSubstr;

TEST(GoodputLimits, ReadsEachLimitWithItsUnit) {
  const auto limits = ParseGoodputLimits("ttft:200ms,tpot:1.5ms,e2e:10s");
  ASSERT_THAT(limits, IsOk());
  EXPECT_EQ(limits->ttft, absl::Milliseconds(200));
  EXPECT_EQ(limits->tpot, absl::Microseconds(1500));
  EXPECT_EQ(limits->e2e, absl::Seconds(10));
}

TEST(GoodputLimits, LeavesOutWhatIsNotNamed) {
  const auto limits = ParseGoodputLimits("tpot:50ms");
  ASSERT_THAT(limits, IsOk());
  EXPECT_FALSE(limits->ttft.has_value());
  EXPECT_FALSE(limits->e2e.has_value());
}

TEST(GoodputLimits, RefusesWhatIsNoLimit) {
  for (const char* text :
       {"", "ttft", "ttft:", "ttft:200", "ttft:0ms", "ttft:-1ms", "itl:5ms",
        "ttft:1ms,", "ttft:1ms,ttft:2ms", "ttft:1ms;tpot:1ms"}) {
    EXPECT_THAT(ParseGoodputLimits(text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(std::string("--goodput \"") + text)))
        << text;
  }
}

TEST(GoodputLimits, AreMetUpToTheLimitItself) {
  const GoodputLimits limits{.ttft = absl::Milliseconds(200),
                             .tpot = absl::Milliseconds(50),
                             .e2e = absl::Seconds(1)};
  struct Row {
    const char* situation;
    StreamLatency latency;
    bool is_met;
  };
  const auto ms = [](int64_t n) { return absl::Milliseconds(n); };
  const Row rows[] = {
      {"all at the limit", {ms(200), ms(50), {}, ms(1000)}, true},
      {"first token late", {ms(201), ms(50), {}, ms(1000)}, false},
      {"slow tokens", {ms(200), ms(51), {}, ms(1000)}, false},
      {"end late", {ms(200), ms(50), {}, ms(1001)}, false},
      {"one token only", {ms(1), std::nullopt, {}, ms(1)}, true},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(limits.IsMetBy(row.latency), row.is_met) << row.situation;
  }
}

}  // namespace
}  // namespace drover::bench
