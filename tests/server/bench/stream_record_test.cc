#include "server/client/bench/stream_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace drover::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

absl::Time At(int64_t millis) {
  return absl::UnixEpoch() + absl::Milliseconds(millis);
}

TEST(StreamLatency, CountsFromTheSendAndBetweenTokens) {
  const StreamLatency latency =
      LatencyOf({.sent_at = At(100),
                 .token_times = {At(150), At(160), At(190)},
                 .num_output_tokens = 3});
  EXPECT_EQ(latency.ttft, absl::Milliseconds(50));
  EXPECT_EQ(latency.e2e, absl::Milliseconds(90));
  EXPECT_EQ(latency.tpot, absl::Milliseconds(20));
  EXPECT_THAT(latency.itl,
              ElementsAre(absl::Milliseconds(10), absl::Milliseconds(30)));
}

TEST(StreamLatency, OfOneTokenHasNeitherTpotNorItl) {
  const StreamLatency latency = LatencyOf(
      {.sent_at = At(0), .token_times = {At(5)}, .num_output_tokens = 1});
  EXPECT_EQ(latency.ttft, absl::Milliseconds(5));
  EXPECT_EQ(latency.e2e, absl::Milliseconds(5));
  EXPECT_EQ(latency.tpot, std::nullopt);
  EXPECT_THAT(latency.itl, IsEmpty());
}

TEST(StreamLatency, SpreadsTpotOverMergedTokensAndItlOverMessages) {
  const StreamLatency latency = LatencyOf({.sent_at = At(0),
                                           .token_times = {At(10), At(50)},
                                           .num_output_tokens = 5,
                                           .num_merged_messages = 1});
  EXPECT_EQ(latency.tpot, absl::Milliseconds(10));
  EXPECT_THAT(latency.itl, ElementsAre(absl::Milliseconds(40)));
}

}  // namespace
}  // namespace drover::bench
