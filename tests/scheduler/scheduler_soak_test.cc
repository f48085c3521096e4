#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/scheduler/scheduler_harness.h"

namespace drover {
namespace {

using ::drover::testing::Continuation;
using ::drover::testing::HashedToken;
using ::drover::testing::Outcome;
using ::drover::testing::SchedulerHarness;

// Random arrivals, stops and cancels against a pool that is always too small.
// The fake shard refuses any plan that breaks the contract, the harness checks
// the invariants after every step, and what each request was given must be the
// beginning of what it would have been given alone.
class SchedulerSoakTest : public ::testing::TestWithParam<uint32_t> {};

TEST_P(SchedulerSoakTest, EveryRequestIsAnsweredAsIfAlone) {
  SCOPED_TRACE(::testing::Message() << "seed " << GetParam());
  std::mt19937 random(GetParam());
  const auto draw = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  SchedulerHarness harness(
      {.num_slots = 6,
       .num_blocks = 1 + draw(10, 30),
       // Some so large that spread prompts do not fill it.
       .max_step_tokens = draw(0, 2) == 0 ? draw(130, 400) : draw(6, 80),
       .max_sequence_length = 160,
       .max_plans_in_flight = draw(1, 3)},
      {.target_step_time = absl::Milliseconds(draw(0, 1) * draw(1, 60)),
       .spread_prompts = draw(0, 1) == 1,
       .max_prefix_bytes = draw(0, 40)});
  std::vector<SharedPrefix> prefixes(5);  // some have none
  for (size_t i = 2; i < prefixes.size(); ++i) {
    const int32_t num_tokens = draw(1, 30);
    prefixes[i] = std::make_shared<PromptPrefix>(
        PromptPrefix{.num_tokens = num_tokens,
                     .rows = std::string(static_cast<size_t>(num_tokens),
                                         static_cast<char>(i))});
  }
  std::map<RequestId, int> max_new_tokens;
  for (int step = 0; step < 600; ++step) {
    if (draw(0, 3) == 0 && step < 500) {
      const int new_tokens = draw(1, 60);
      const RequestId id = harness.Add(
          draw(1, 70), new_tokens, prefixes[static_cast<size_t>(draw(0, 4))]);
      max_new_tokens[id] = new_tokens;
    }
    if (draw(0, 40) == 0 && !max_new_tokens.empty()) {
      const RequestId id = static_cast<RequestId>(
          draw(1, static_cast<int>(max_new_tokens.size())));
      draw(0, 1) == 0 ? harness.scheduler().Stop(id)
                      : harness.scheduler().Cancel(id);
    }
    while (harness.Plan()) {
      harness.Takes(absl::Milliseconds(draw(1, 60)));
      if (draw(0, 3) == 0) break;
    }
    if (harness.scheduler().num_plans_in_flight() > 0) harness.Commit();
    if (HasFatalFailure()) return;
  }
  harness.RunToEnd();
  for (const auto& [id, limit] : max_new_tokens) {
    const Outcome& outcome = harness.outcome(id);
    ASSERT_TRUE(outcome.end) << "request " << id << " was forgotten";
    EXPECT_EQ(outcome.tokens,
              Continuation(HashedToken, harness.prompt(id),
                           static_cast<int>(outcome.tokens.size())));
    if (outcome.end->cause == EndCause::kMaxTokens) {
      EXPECT_EQ(outcome.tokens.size(), static_cast<size_t>(limit));
    }
  }
  EXPECT_TRUE(harness.scheduler().Snapshot().sequences.empty());
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerSoakTest, ::testing::Range(1u, 41u));

}  // namespace
}  // namespace drover
