#include "scheduler/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/scheduler/scheduler_harness.h"

namespace drover {
namespace {

using ::drover::testing::Expected;
using ::drover::testing::SchedulerHarness;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(SchedulerTest, OneRequestRunsToItsLastAllowedToken) {
  SchedulerHarness harness;
  const RequestId id = harness.Add(/*prompt_len=*/5, /*max_new_tokens=*/20);
  harness.RunToEnd();
  EXPECT_EQ(harness.outcome(id).tokens, Expected(harness, id, 20));
  EXPECT_EQ(harness.outcome(id).end->cause, EndCause::kMaxTokens);
}

TEST(SchedulerTest, PlansOneStepAheadOfTheResult) {
  SchedulerHarness harness;
  harness.Add(/*prompt_len=*/5, /*max_new_tokens=*/20);
  ASSERT_TRUE(harness.Plan());
  const std::optional<BatchPlan> ahead = harness.Plan();
  ASSERT_TRUE(ahead);
  EXPECT_THAT(ahead->work, IsEmpty()) << "an unnamed slot decodes";
  EXPECT_FALSE(harness.Plan()) << "two are in flight";
}

TEST(SchedulerTest, ALongPromptIsCutToTheBudgetAndSampledAtItsEnd) {
  SchedulerHarness harness;
  const RequestId id = harness.Add(/*prompt_len=*/150, /*max_new_tokens=*/1);
  std::vector<std::pair<int32_t, bool>> chunks;
  while (const auto plan = harness.Plan()) {
    ASSERT_THAT(plan->work, SizeIs(1));
    chunks.emplace_back(plan->work[0].num_tokens, plan->work[0].sample);
    harness.Commit();
  }
  EXPECT_THAT(chunks, ElementsAre(std::pair(64, false), std::pair(64, false),
                                  std::pair(22, true)));
  EXPECT_EQ(harness.outcome(id).tokens, Expected(harness, id, 1));
}

TEST(SchedulerTest, RunningSequencesDecodeBesideAPrefill) {
  SchedulerHarness harness;
  harness.Add(/*prompt_len=*/4, /*max_new_tokens=*/40);
  harness.Plan();
  harness.Commit();
  harness.Add(/*prompt_len=*/100, /*max_new_tokens=*/2);
  const auto plan = harness.Plan();
  ASSERT_THAT(plan->work, SizeIs(1)) << "the decode is not named";
  EXPECT_EQ(plan->work[0].num_tokens, 63) << "the budget less one decode";
}

TEST(SchedulerTest, EosEndsASequenceAndItsSurplusTokenIsDropped) {
  const auto model = [](absl::Span<const int32_t> ids) {
    return ids.size() == 8 ? 2 : 50;
  };
  SchedulerHarness harness({.num_slots = 2,
                            .num_blocks = 9,
                            .max_step_tokens = 64,
                            .max_sequence_length = 128},
                           {.eos_ids = {2}}, model);
  const RequestId id = harness.Add(/*prompt_len=*/6, /*max_new_tokens=*/50);
  harness.RunToEnd();
  EXPECT_THAT(harness.outcome(id).tokens, ElementsAre(50, 50, 2));
  EXPECT_EQ(harness.outcome(id).end->cause, EndCause::kEos);
}

TEST(SchedulerTest, EachEosIdEndsASequence) {
  const auto model = [](absl::Span<const int32_t> ids) {
    return ids.size() == 8 ? ids[0] : 50;  // says the prompt's first id
  };
  SchedulerHarness harness({.num_slots = 4,
                            .num_blocks = 9,
                            .max_step_tokens = 64,
                            .max_sequence_length = 128},
                           {.eos_ids = {2, 7}}, model);
  for (const int32_t first : {2, 7, 9}) {
    const RequestId id = harness.Add(
        {.prompt_ids = {first, 1, 1, 1, 1, 1}, .max_new_tokens = 5});
    harness.RunToEnd();
    const bool is_eos = first != 9;
    EXPECT_THAT(harness.outcome(id).tokens, SizeIs(is_eos ? 3 : 5)) << first;
    EXPECT_EQ(harness.outcome(id).tokens[2], first);
    EXPECT_EQ(harness.outcome(id).end->cause,
              is_eos ? EndCause::kEos : EndCause::kMaxTokens);
  }
}

TEST(SchedulerTest, AStoppedRequestIsOutOfTheNextPlan) {
  SchedulerHarness harness;
  const RequestId id = harness.Add(/*prompt_len=*/6, /*max_new_tokens=*/50);
  const RequestId other = harness.Add(/*prompt_len=*/6, /*max_new_tokens=*/9);
  harness.Plan();
  harness.Commit();
  harness.scheduler().Stop(id);
  const auto plan = harness.Plan();
  EXPECT_THAT(plan->releases, ElementsAre(Field(&SlotRef::slot, 0)));
  harness.RunToEnd();
  EXPECT_EQ(harness.outcome(id).end->cause, EndCause::kStopped);
  EXPECT_THAT(harness.outcome(id).tokens, SizeIs(1));
  EXPECT_EQ(harness.outcome(other).tokens, Expected(harness, other, 9));
}

TEST(SchedulerTest, BlocksOfACancelledRequestReturnWhenThePlansInFlightRetire) {
  SchedulerHarness harness;
  const RequestId id = harness.Add(/*prompt_len=*/40, /*max_new_tokens=*/50);
  harness.Plan();
  harness.Plan();
  const int32_t before = harness.scheduler().Snapshot().num_free_blocks;
  harness.scheduler().Cancel(id);
  EXPECT_EQ(harness.scheduler().Snapshot().num_free_blocks, before);
  harness.Commit();
  EXPECT_EQ(harness.scheduler().Snapshot().num_free_blocks, before);
  harness.Commit();
  EXPECT_EQ(harness.scheduler().Snapshot().num_free_blocks, 32);
  EXPECT_EQ(harness.outcome(id).end->cause, EndCause::kCancelled);
}

TEST(SchedulerTest, APreemptedSequenceContinuesAsIfUndisturbed) {
  // 7 blocks = 112 tokens; two sequences want 2 × 80.
  SchedulerHarness harness({.num_slots = 4,
                            .num_blocks = 8,
                            .max_step_tokens = 64,
                            .max_sequence_length = 112});
  const RequestId old = harness.Add(/*prompt_len=*/20, /*max_new_tokens=*/60);
  const RequestId young = harness.Add(/*prompt_len=*/20, /*max_new_tokens=*/60);
  harness.RunToEnd();
  EXPECT_GT(harness.scheduler().last_step().num_preemptions, 0);
  EXPECT_EQ(harness.outcome(old).tokens, Expected(harness, old, 60));
  EXPECT_EQ(harness.outcome(young).tokens, Expected(harness, young, 60));
}

TEST(SchedulerTest, WhoWouldBePreemptedLaterWaits) {
  // 512 tokens of cache. Two sequences of 64 + 240 do not fit, three of them
  // start at once as long as nothing is known.
  SchedulerHarness harness;
  const auto run = [&](int count) {
    const int64_t before = harness.scheduler().last_step().num_preemptions;
    std::vector<RequestId> ids;
    for (int i = 0; i < count; ++i) ids.push_back(harness.Add(64, 240));
    harness.RunToEnd();
    for (const RequestId id : ids) {
      EXPECT_EQ(harness.outcome(id).tokens.size(), 240u);
    }
    return harness.scheduler().last_step().num_preemptions - before;
  };
  EXPECT_GT(run(3), 0);
  for (int i = 0; i < 40; ++i) run(1);  // outputs take all they may
  EXPECT_EQ(run(3), 0);
}

TEST(SchedulerTest, WhatARequestAsksForAtLeastIsCertain) {
  SchedulerHarness harness;
  for (int i = 0; i < 3; ++i) {
    Request request = {.prompt_ids = std::vector<int32_t>(64, i + 1),
                       .max_new_tokens = 240};
    request.sampling.min_new_tokens = 240;
    harness.Add(std::move(request));
  }
  harness.RunToEnd();
  EXPECT_EQ(harness.scheduler().last_step().num_preemptions, 0);
}

TEST(SchedulerTest, TheQueueIsFifoEvenWhenALaterRequestWouldFit) {
  SchedulerHarness harness({.num_slots = 4,
                            .num_blocks = 8,
                            .max_step_tokens = 128,
                            .max_sequence_length = 112});
  harness.Add(/*prompt_len=*/60, /*max_new_tokens=*/3);
  const RequestId large = harness.Add(/*prompt_len=*/90, /*max_new_tokens=*/3);
  const RequestId small = harness.Add(/*prompt_len=*/4, /*max_new_tokens=*/3);
  harness.Plan();
  EXPECT_FALSE(harness.outcome(large).scheduled);
  EXPECT_FALSE(harness.outcome(small).scheduled);
  harness.RunToEnd();
  EXPECT_EQ(harness.outcome(small).tokens, Expected(harness, small, 3));
}

TEST(SchedulerTest, ARequestThatCanNeverRunEndsAtOnce) {
  SchedulerHarness harness;
  const RequestId id = harness.Add(/*prompt_len=*/500, /*max_new_tokens=*/13);
  EXPECT_EQ(harness.outcome(id).end->status.code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SchedulerTest, PromptScoresArriveInOrderAcrossChunks) {
  SchedulerHarness harness;
  Request request = {.max_new_tokens = 2};
  request.prompt_ids.resize(150);
  for (int i = 0; i < 150; ++i) {
    request.prompt_ids[static_cast<size_t>(i)] = 5000 + i;
  }
  request.sampling.prompt_scores = true;
  const RequestId id = harness.Add(std::move(request));
  harness.RunToEnd();
  const auto& scores = harness.outcome(id).prompt_scores;
  ASSERT_THAT(scores, SizeIs(149));
  for (int i = 0; i < 149; ++i) {
    EXPECT_EQ(scores[static_cast<size_t>(i)].id, 5001 + i);
  }
}

SharedPrefix MakePrefix(int32_t num_tokens) {
  PromptPrefix prefix = {.num_tokens = num_tokens};
  for (int32_t i = 0; i < num_tokens; ++i) {
    prefix.rows.push_back(static_cast<char>(i));
  }
  return std::make_shared<const PromptPrefix>(std::move(prefix));
}

TEST(SchedulerTest, APrefixTakesPositionsAndBlocksInFrontOfThePrompt) {
  SchedulerHarness harness;
  const SharedPrefix prefix = MakePrefix(70);
  const RequestId id =
      harness.Add(/*prompt_len=*/5, /*max_new_tokens=*/20, prefix);
  const std::optional<BatchPlan> first = harness.Plan();
  ASSERT_TRUE(first);
  ASSERT_THAT(first->prefix_loads, SizeIs(1));
  EXPECT_EQ(first->prefix_loads[0].prefix, prefix);
  ASSERT_THAT(first->admissions, SizeIs(1));
  EXPECT_EQ(first->admissions[0].prefix, first->prefix_loads[0].handle);
  EXPECT_THAT(first->admissions[0].token_ids, SizeIs(5));
  ASSERT_THAT(first->work, SizeIs(1));
  EXPECT_EQ(first->work[0].num_tokens, 64) << "a chunk ends inside the prefix";
  EXPECT_THAT(first->work[0].new_blocks, SizeIs(5)) << "75 tokens";
  harness.RunToEnd();
  EXPECT_EQ(harness.outcome(id).tokens, Expected(harness, id, 20));
}

TEST(SchedulerTest, APrefixTravelsOnceForAllWhoRunWithIt) {
  SchedulerHarness harness;
  const SharedPrefix prefix = MakePrefix(3);
  harness.Add(/*prompt_len=*/5, /*max_new_tokens=*/20, prefix);
  harness.Add(/*prompt_len=*/6, /*max_new_tokens=*/20, prefix);
  EXPECT_THAT(harness.Plan()->prefix_loads, SizeIs(1));
  harness.Add(/*prompt_len=*/7, /*max_new_tokens=*/20, prefix);
  EXPECT_THAT(harness.Plan()->prefix_loads, IsEmpty());
  harness.RunToEnd();
}

TEST(SchedulerTest, APreemptedSequenceKeepsItsPrefix) {
  // Ten blocks for two sequences that grow to eight each.
  SchedulerHarness harness({.num_slots = 2,
                            .num_blocks = 11,
                            .max_step_tokens = 64,
                            .max_sequence_length = 160});
  const SharedPrefix prefix = MakePrefix(20);
  const RequestId older = harness.Add(10, 95);
  const RequestId younger = harness.Add(10, 95, prefix);
  harness.RunToEnd();
  EXPECT_GT(harness.scheduler().last_step().num_preemptions, 0);
  EXPECT_EQ(harness.outcome(older).tokens, Expected(harness, older, 95));
  EXPECT_EQ(harness.outcome(younger).tokens, Expected(harness, younger, 95));
}

TEST(SchedulerTest, PromptScoresCountThePrefix) {
  SchedulerHarness harness;
  Request request = {.prefix = MakePrefix(70),
                     .prompt_ids = {1, 2, 3},
                     .sampling = {.prompt_scores = true}};
  const RequestId id = harness.Add(std::move(request));
  harness.RunToEnd();
  ASSERT_THAT(harness.outcome(id).prompt_scores, SizeIs(72));
  EXPECT_EQ(harness.outcome(id).prompt_scores.back().id, 3);
}

TEST(SchedulerTest, APrefixCountsAgainstTheContext) {
  SchedulerHarness harness;  // of 512
  const RequestId fits =
      harness.Add(/*prompt_len=*/400, /*max_new_tokens=*/12, MakePrefix(100));
  const RequestId exceeds = harness.Add(
      /*prompt_len=*/400, /*max_new_tokens=*/13, MakePrefix(100));
  ASSERT_TRUE(harness.outcome(exceeds).end);
  EXPECT_EQ(harness.outcome(exceeds).end->status.code(),
            absl::StatusCode::kInvalidArgument);
  harness.RunToEnd();
  EXPECT_EQ(harness.outcome(fits).end->cause, EndCause::kMaxTokens);
}

TEST(SchedulerTest, PrefixesThatNobodyRunsWithLeaveWithTheNextPlan) {
  SchedulerHarness harness;  // keeps none
  harness.Add(/*prompt_len=*/5, /*max_new_tokens=*/2, MakePrefix(4));
  harness.RunToEnd();
  EXPECT_EQ(harness.shard().num_prefixes(), 1);
  harness.Add(/*prompt_len=*/5, /*max_new_tokens=*/2, MakePrefix(5));
  harness.RunToEnd();
  EXPECT_EQ(harness.shard().num_prefixes(), 1) << "the second one";
}

TEST(SchedulerTest, ATimeLimitThatPassesInTheQueueEndsWithoutTokens) {
  SchedulerHarness harness({.num_slots = 1,
                            .num_blocks = 33,
                            .max_step_tokens = 64,
                            .max_sequence_length = 512});
  harness.Add(/*prompt_len=*/4, /*max_new_tokens=*/30);
  harness.Plan();
  const RequestId late =
      harness.Add({.prompt_ids = {7, 8},
                   .max_new_tokens = 5,
                   .time_limit = harness.now + absl::Seconds(1)});
  harness.now += absl::Seconds(2);
  harness.Plan();
  EXPECT_EQ(harness.outcome(late).end->cause, EndCause::kTimeLimit);
  EXPECT_FALSE(harness.outcome(late).scheduled);
}

TEST(SchedulerTest, OnAnIdleServerAnExpiredRequestStillGetsOneToken) {
  SchedulerHarness harness;
  const RequestId id = harness.Add(
      {.prompt_ids = {7, 8}, .max_new_tokens = 5, .time_limit = harness.now});
  harness.RunToEnd();
  EXPECT_THAT(harness.outcome(id).tokens, SizeIs(1));
  EXPECT_EQ(harness.outcome(id).end->cause, EndCause::kTimeLimit);
}

TEST(SchedulerTest, ATimeLimitBetweenPrefillChunksEndsWithoutTokens) {
  SchedulerHarness harness;
  Request request = {.max_new_tokens = 5,
                     .time_limit = harness.now + absl::Seconds(1)};
  request.prompt_ids.assign(200, 9);
  const RequestId id = harness.Add(std::move(request));
  harness.Plan();
  harness.now += absl::Seconds(2);
  harness.Plan();
  EXPECT_EQ(harness.outcome(id).end->cause, EndCause::kTimeLimit);
  EXPECT_THAT(harness.outcome(id).tokens, IsEmpty());
}

TEST(SchedulerTest, ATimeLimitInDecodeKeepsTheTokenItPassesWith) {
  SchedulerHarness harness;
  Request request = {.prompt_ids = {7, 8},
                     .max_new_tokens = 50,
                     .time_limit = harness.now + absl::Seconds(1)};
  request.sampling.min_new_tokens = 50;
  const RequestId id = harness.Add(std::move(request));
  const RequestId other = harness.Add(/*prompt_len=*/6, /*max_new_tokens=*/9);
  for (int step = 0; step < 3; ++step) {
    harness.Plan();
    harness.Plan();
    harness.Commit();
  }
  EXPECT_THAT(harness.outcome(id).tokens, SizeIs(3));
  EXPECT_FALSE(harness.outcome(id).end);
  harness.now += absl::Seconds(1);
  harness.Commit();
  EXPECT_THAT(harness.outcome(id).tokens, SizeIs(4));
  EXPECT_EQ(harness.outcome(id).end->cause, EndCause::kTimeLimit);
  harness.RunToEnd();
  EXPECT_THAT(harness.outcome(id).tokens, SizeIs(4)) << "no surplus token";
  EXPECT_EQ(harness.outcome(other).tokens, Expected(harness, other, 9));
}

TEST(SchedulerTest, AQueuedRequestWhoseClientGaveUpIsDropped) {
  SchedulerHarness harness({.num_slots = 1,
                            .num_blocks = 33,
                            .max_step_tokens = 64,
                            .max_sequence_length = 512});
  harness.Add(/*prompt_len=*/4, /*max_new_tokens=*/30);
  harness.Plan();
  const RequestId id =
      harness.Add({.prompt_ids = {7},
                   .max_new_tokens = 5,
                   .client_deadline = harness.now + absl::Seconds(1)});
  harness.now += absl::Seconds(2);
  harness.Plan();
  EXPECT_EQ(harness.outcome(id).end->cause, EndCause::kCancelled);
}

TEST(SchedulerTest, NonFiniteLogitsFailOneSequenceAndNoOther) {
  Scheduler scheduler({}, {.num_slots = 2,
                           .num_blocks = 9,
                           .max_step_tokens = 64,
                           .max_sequence_length = 128});
  scheduler.Add(1, {.prompt_ids = {5}, .max_new_tokens = 4});
  scheduler.Add(2, {.prompt_ids = {6}, .max_new_tokens = 4});
  const absl::Time now = absl::UnixEpoch();
  const auto plan = scheduler.Plan(now);
  StepResult result = {.step = 1};
  result.sequences = {
      {.slot = plan->admissions[0].slot,
       .status = SequenceStatus::kNonFiniteLogits},
      {.slot = plan->admissions[1].slot, .tokens = {{.id = 44}}}};
  ASSERT_EQ(scheduler.Commit(result, now), absl::OkStatus());
  int num_failed = 0, num_tokens = 0;
  for (const auto& [id, event] : scheduler.TakeEvents()) {
    if (const auto* end = std::get_if<RequestEnded>(&event)) {
      EXPECT_EQ(id, 1u);
      EXPECT_EQ(end->cause, EndCause::kFailed);
      ++num_failed;
    }
    num_tokens += std::holds_alternative<RequestToken>(event) ? 1 : 0;
  }
  EXPECT_EQ(num_failed, 1);
  EXPECT_EQ(num_tokens, 1);

  // How far a request had come is for whoever tells the client.
  ASSERT_TRUE(scheduler.Plan(now).has_value());
  result = {.step = 2,
            .sequences = {{.slot = plan->admissions[1].slot,
                           .status = SequenceStatus::kNonFiniteLogits}}};
  ASSERT_EQ(scheduler.Commit(result, now), absl::OkStatus());
  const auto events = scheduler.TakeEvents();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(std::get<RequestEnded>(events[0].second).status,
            absl::InternalError("the model's logits are not finite"));
}

TEST(SchedulerTest, AResultThatBreaksTheContractIsAnError) {
  Scheduler scheduler({}, {.num_slots = 2,
                           .num_blocks = 9,
                           .max_step_tokens = 64,
                           .max_sequence_length = 128});
  const absl::Time now = absl::UnixEpoch();
  EXPECT_FALSE(scheduler.Commit({.step = 1}, now).ok()) << "none in flight";
  scheduler.Add(1, {.prompt_ids = {5}, .max_new_tokens = 4});
  scheduler.Plan(now);
  EXPECT_FALSE(scheduler.Commit({.step = 2}, now).ok()) << "wrong step";
  EXPECT_FALSE(scheduler.Commit({.step = 1}, now).ok()) << "token missing";
}

}  // namespace
}  // namespace drover
