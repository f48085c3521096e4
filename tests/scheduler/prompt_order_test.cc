// Which prompts a step computes beside decodes, and how much of each.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "absl/time/time.h"
#include "scheduler/scheduler.h"
#include "tests/scheduler/scheduler_harness.h"

namespace drover {
namespace {

using ::drover::testing::Expected;
using ::drover::testing::SchedulerHarness;
using ::testing::ElementsAre;
using ::testing::SizeIs;

// Ten microseconds for each token of a chunk, besides a millisecond.
absl::Duration LinearTime(const BatchPlan& plan) {
  absl::Duration time = absl::Milliseconds(1);
  for (const SequenceWork& work : plan.work) {
    if (work.num_tokens > 1) time += work.num_tokens * absl::Microseconds(10);
  }
  return time;
}

TEST(PromptOrderTest, ChunksBesideDecodesKeepToTheTimeOfAStep) {
  SchedulerHarness harness({.num_slots = 4,
                            .num_blocks = 2001,
                            .max_step_tokens = 1024,
                            .max_sequence_length = 16384},
                           {.target_step_time = absl::Milliseconds(3)});
  harness.Add(/*prompt_len=*/4, /*max_new_tokens=*/400);
  for (int i = 0; i < 20; ++i) {
    const auto plan = harness.Plan();
    harness.Takes(LinearTime(*plan));
    harness.Commit();
  }
  const RequestId prompt = harness.Add(/*prompt_len=*/10000,
                                       /*max_new_tokens=*/1);
  absl::Duration longest;
  int steps = 0;
  while (!harness.outcome(prompt).end) {
    const auto plan = harness.Plan();
    longest = std::max(longest, LinearTime(*plan));
    harness.Takes(LinearTime(*plan));
    harness.Commit();
    ++steps;
  }
  EXPECT_LE(longest, absl::Milliseconds(3.1));
  EXPECT_GE(longest, absl::Milliseconds(2.9)) << "no more than it must wait";
  EXPECT_LE(steps, 60) << "200 tokens a step would be 50";
  EXPECT_EQ(harness.outcome(prompt).tokens, Expected(harness, prompt, 1));
}

TEST(PromptOrderTest, PromptsGetOnWhereDecodesAloneTakeTooLong) {
  SchedulerHarness harness({.num_slots = 4,
                            .num_blocks = 33,
                            .max_step_tokens = 128,
                            .max_sequence_length = 512},
                           {.target_step_time = absl::Milliseconds(1)});
  harness.Add(/*prompt_len=*/4, /*max_new_tokens=*/100);
  const auto step = [&] {
    const auto plan = harness.Plan();
    harness.Takes(absl::Milliseconds(2));
    harness.Commit();
    return plan;
  };
  for (int i = 0; i < 3; ++i) step();
  const RequestId prompt =
      harness.Add(/*prompt_len=*/100, /*max_new_tokens=*/1);
  EXPECT_EQ(step()->work.front().num_tokens, 64);
  for (int i = 0; i < 3; ++i) step();
  EXPECT_EQ(harness.outcome(prompt).tokens, Expected(harness, prompt, 1));
}

TEST(PromptOrderTest, NobodyTakesTheTimeThatIsTooShortForAnothersNextToken) {
  SchedulerHarness harness({.num_slots = 4,
                            .num_blocks = 2001,
                            .max_step_tokens = 256,
                            .max_sequence_length = 16384},
                           {.target_step_time = absl::Milliseconds(3)});
  harness.Add(/*prompt_len=*/4, /*max_new_tokens=*/1000);
  // A token takes the longer the deeper it is, so a prompt's first are quick.
  int32_t done = 0;
  const auto step = [&] {
    const auto plan = harness.Plan();
    StepLoad load;
    for (const SequenceWork& work : plan->work) {
      if (work.num_tokens > 1) load.AddChunk(work.num_tokens, done);
    }
    done += load.num_prefill_tokens;
    harness.Takes(absl::Milliseconds(1) +
                  load.num_prefill_tokens * absl::Microseconds(5) +
                  load.num_prefill_pairs * absl::Nanoseconds(20));
    harness.Commit();
  };
  for (int i = 0; i < 20; ++i) step();
  done = 0;
  const RequestId old = harness.Add(/*prompt_len=*/5000, /*max_new_tokens=*/1);
  const RequestId later =
      harness.Add(/*prompt_len=*/5001, /*max_new_tokens=*/1);
  while (!harness.outcome(old).end) {
    EXPECT_FALSE(harness.outcome(later).scheduled);
    step();
  }
  harness.RunToEnd();
  EXPECT_EQ(harness.outcome(later).tokens, Expected(harness, later, 1));
}

TEST(PromptOrderTest, AShortPromptOvertakesALongOneWhichKeepsHalfOfTheStep) {
  SchedulerHarness harness({.num_slots = 4,
                            .num_blocks = 129,
                            .max_step_tokens = 64,
                            .max_sequence_length = 1024});
  const RequestId old = harness.Add(/*prompt_len=*/900, /*max_new_tokens=*/1);
  harness.Plan();
  harness.Commit();
  const RequestId young = harness.Add(/*prompt_len=*/40, /*max_new_tokens=*/1);
  const RequestId same = harness.Add(/*prompt_len=*/40, /*max_new_tokens=*/1);
  const auto tokens = [](const BatchPlan& plan) {
    std::vector<int32_t> tokens;
    for (const SequenceWork& work : plan.work) {
      tokens.push_back(work.num_tokens);
    }
    return tokens;
  };
  EXPECT_THAT(tokens(*harness.Plan()), ElementsAre(32, 32));
  EXPECT_FALSE(harness.outcome(same).scheduled) << "nothing is left";
  EXPECT_THAT(tokens(*harness.Plan()), ElementsAre(32, 8, 24));
  harness.Commit();
  EXPECT_EQ(harness.scheduler().last_step().num_queue_jumps, 0)
      << "the old one had started";
  harness.RunToEnd();
  for (const RequestId id : {old, young, same}) {
    EXPECT_EQ(harness.outcome(id).tokens, Expected(harness, id, 1));
  }
}

TEST(PromptOrderTest, AShortPromptStartsBeforeLongOnesThatWait) {
  SchedulerHarness harness({.num_slots = 4,
                            .num_blocks = 257,
                            .max_step_tokens = 64,
                            .max_sequence_length = 1024});
  harness.Add(/*prompt_len=*/900, /*max_new_tokens=*/1);
  const RequestId second = harness.Add(/*prompt_len=*/901, 1);
  const RequestId shorter = harness.Add(/*prompt_len=*/20, 1);
  harness.Plan();
  harness.Commit();
  EXPECT_TRUE(harness.outcome(shorter).scheduled);
  EXPECT_FALSE(harness.outcome(second).scheduled);
  EXPECT_EQ(harness.scheduler().last_step().num_queue_jumps, 1);
  harness.RunToEnd();
  EXPECT_EQ(harness.outcome(second).tokens, Expected(harness, second, 1));
}

TEST(PromptOrderTest, AShortPromptTakesNoBlocksThatALongOneWaitsFor) {
  SchedulerHarness harness({.num_slots = 4,
                            .num_blocks = 41,
                            .max_step_tokens = 64,
                            .max_sequence_length = 640});
  harness.Add(/*prompt_len=*/300, /*max_new_tokens=*/30);
  harness.Plan();
  harness.Commit();
  const RequestId old = harness.Add(/*prompt_len=*/400, /*max_new_tokens=*/1);
  const RequestId young = harness.Add(/*prompt_len=*/8, /*max_new_tokens=*/1);
  for (int i = 0; i < 100 && !harness.outcome(old).scheduled; ++i) {
    EXPECT_FALSE(harness.outcome(young).scheduled);
    harness.Plan();
    harness.Commit();
  }
  harness.RunToEnd();
  EXPECT_EQ(harness.outcome(old).tokens, Expected(harness, old, 1));
  EXPECT_EQ(harness.outcome(young).tokens, Expected(harness, young, 1));
}

TEST(PromptOrderTest, WithoutDecodesAStepTakesAnyTime) {
  SchedulerHarness harness({.num_slots = 4,
                            .num_blocks = 33,
                            .max_step_tokens = 64,
                            .max_sequence_length = 512},
                           {.target_step_time = absl::Milliseconds(1)});
  harness.Add(/*prompt_len=*/150, /*max_new_tokens=*/1);
  EXPECT_EQ(harness.Plan()->work.front().num_tokens, 64);
}

TEST(PromptOrderTest, SpreadPromptsKeepUpWithSequencesThatEnd) {
  SchedulerHarness harness({.num_slots = 64,
                            .num_blocks = 2001,
                            .max_step_tokens = 2048,
                            .max_sequence_length = 512},
                           {.spread_prompts = true});
  constexpr int kLength = 128;
  constexpr int kCount = 128;
  std::vector<RequestId> ids;
  for (int i = 0; i < kCount; ++i) {
    ids.push_back(harness.Add({.prompt_ids = std::vector<int32_t>(kLength, 7),
                               .sampling = {.min_new_tokens = kLength},
                               .max_new_tokens = kLength}));
  }
  int most_beside_decodes = 0;
  int steps = 0;
  for (; harness.Plan(); ++steps) {
    harness.Commit();
    const StepStats& step = harness.scheduler().last_step();
    const bool is_known = harness.outcome(ids.front()).end.has_value();
    if (!is_known || step.num_decode_sequences == 0) continue;
    most_beside_decodes =
        std::max(most_beside_decodes, step.num_prefill_tokens);
  }
  EXPECT_LE(most_beside_decodes, 320)
      << "64 sequences want 64 tokens a step, those who end together more";
  EXPECT_GE(most_beside_decodes, 64);
  EXPECT_LE(steps, 3 * kLength) << "two rounds, and a ramp";
  for (const RequestId id : ids) {
    EXPECT_THAT(harness.outcome(id).tokens, SizeIs(kLength));
  }
}

TEST(PromptOrderTest, SpreadPromptsAreEvenBesideSequencesThatGoOn) {
  SchedulerHarness harness({.num_slots = 64,
                            .num_blocks = 4001,
                            .max_step_tokens = 2048,
                            .max_sequence_length = 16640},
                           {.spread_prompts = true});
  for (int i = 0; i < 60; ++i) harness.Add(/*prompt_len=*/4, 500);
  const auto step = [&] {
    harness.Plan();
    harness.Commit();
    return harness.scheduler().last_step().num_prefill_tokens;
  };
  for (int i = 0; i < 200; ++i) step();
  // The second comes when one has ended that brought much and took little.
  for (const char* which : {"first", "second"}) {
    const RequestId prompt = harness.Add(/*prompt_len=*/16000, 1);
    int32_t most = 0;
    int steps = 0;
    for (; !harness.outcome(prompt).end; ++steps) most = std::max(most, step());
    EXPECT_LE(most, 260) << which << ": not as many as fit";
    EXPECT_LE(steps, 96) << which << ": nor ever fewer";
  }
}

TEST(PromptOrderTest, PromptsThatAreCancelledDoNotCountForSpreading) {
  SchedulerHarness harness({.num_slots = 64,
                            .num_blocks = 4001,
                            .max_step_tokens = 2048,
                            .max_sequence_length = 16640},
                           {.spread_prompts = true});
  for (int i = 0; i < 8; ++i) harness.Add(/*prompt_len=*/4, 500);
  const auto step = [&] {
    harness.Plan();
    harness.Commit();
    return harness.scheduler().last_step().num_prefill_tokens;
  };
  for (int i = 0; i < 200; ++i) step();
  for (int i = 0; i < 10; ++i) {
    const RequestId cancelled = harness.Add(/*prompt_len=*/16000, 1);
    step();
    harness.scheduler().Cancel(cancelled);
    step();
  }
  harness.Add(/*prompt_len=*/2000, 1);
  EXPECT_LE(step(), 512);
}

TEST(PromptOrderTest, WithoutDecodesSpreadPromptsFillTheStep) {
  SchedulerHarness harness({.num_slots = 4,
                            .num_blocks = 33,
                            .max_step_tokens = 512,
                            .max_sequence_length = 512},
                           {.spread_prompts = true});
  harness.Add(/*prompt_len=*/400, /*max_new_tokens=*/1);
  EXPECT_EQ(harness.Plan()->work.front().num_tokens, 400);
}

}  // namespace
}  // namespace drover
