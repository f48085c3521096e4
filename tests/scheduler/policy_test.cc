#include "scheduler/policy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace drover {
namespace {

TEST(PolicyTest, AChunkIsWhatRemainsOrWhatTheBudgetHolds) {
  EXPECT_EQ(ChunkTokens(/*remaining=*/100, /*budget_left=*/512), 100);
  EXPECT_EQ(ChunkTokens(/*remaining=*/1000, /*budget_left=*/512), 512);
  EXPECT_EQ(ChunkTokens(/*remaining=*/10, /*budget_left=*/0), 0);
  EXPECT_EQ(ChunkTokens(/*remaining=*/10, /*budget_left=*/-3), 0);
}

TEST(PolicyTest, StepsKeepUpWithPromptsAndAlwaysGiveTheCheapRows) {
  const auto tokens = [](int32_t num_decodes, double prompts_to_output,
                         int64_t backlog = 0) {
    return SpreadPromptTokens({.num_decodes = num_decodes,
                               .num_sequences = num_decodes,
                               .prompts_to_output = prompts_to_output,
                               .backlog = backlog});
  };
  EXPECT_EQ(tokens(8, 0.5), 120);
  EXPECT_EQ(tokens(192, 0.1), 64) << "prompts get on";
  EXPECT_EQ(tokens(200, 0.1), 120) << "all of a tile";
  EXPECT_EQ(tokens(64, 3.999), 256);
  EXPECT_EQ(tokens(256, 4.0), 2048) << "in half of the steps";
  EXPECT_EQ(tokens(8, 0.5, 96000), 1016) << "in 96 steps";
  EXPECT_GT(tokens(8, INFINITY), 1000000) << "nothing is known";
}

TEST(PolicyTest, StepsHoldMoreOfPromptsWhileManyWait) {
  const auto rows = [](int32_t num_decodes, int32_t num_sequences) {
    return num_decodes +
           SpreadPromptTokens({.num_decodes = num_decodes,
                               .num_sequences = num_sequences,
                               .prompts_to_output = 1.0,
                               .num_behind = num_sequences - num_decodes});
  };
  EXPECT_EQ(rows(62, 64), 128) << "hardly anybody waits";
  EXPECT_EQ(rows(16, 64), 320) << "256 and the decodes, whole tiles";
  EXPECT_EQ(rows(5, 6), 192) << "a sixth of 1024";
  EXPECT_EQ(rows(1, 2), 576) << "half of 1024, as only one waits for it";
}

struct AdmissionCase {
  const char* situation;
  AdmissionView view;
  bool may;
};

TEST(PolicyTest, AdmitsOnlyIntoFreeSlotBatchBudgetAndBlocks) {
  const AdmissionView roomy = {.free_slots = 1,
                               .running = 3,
                               .max_batch_size = 4,
                               .budget_left = 1,
                               .free_blocks = 5,
                               .blocks_needed = 5};
  auto with = [&](auto change) {
    AdmissionView view = roomy;
    change(view);
    return view;
  };
  const std::vector<AdmissionCase> cases = {
      {"just enough of everything", roomy, true},
      {"no slot", with([](auto& v) { v.free_slots = 0; }), false},
      {"batch full", with([](auto& v) { v.running = 4; }), false},
      {"budget spent", with([](auto& v) { v.budget_left = 0; }), false},
      {"would overflow later",
       with([](auto& v) { v.peak_tokens = v.cache_tokens + 1; }), false},
      {"would overflow later, alone", with([](auto& v) {
         v.running = 0;
         v.peak_tokens = v.cache_tokens + 1;
       }),
       true},
      {"a block short", with([](auto& v) { v.blocks_needed = 6; }), false},
  };
  for (const AdmissionCase& c : cases) {
    EXPECT_EQ(MayAdmit(c.view), c.may) << c.situation;
  }
}

TEST(PolicyTest, ThePeakIsBeforeSomebodyLeaves) {
  EXPECT_EQ(PeakTokens({}), 0);
  // Alone, at its end.
  EXPECT_EQ(PeakTokens({{.num_tokens = 10, .num_to_come = 5}}), 15);
  // Both when the shorter ends: 10 + 2 and 100 + 2.
  EXPECT_EQ(PeakTokens({{.num_tokens = 10, .num_to_come = 5},
                        {.num_tokens = 100, .num_to_come = 2}}),
            114);
  // The longer one, after the small one has left.
  EXPECT_EQ(PeakTokens({{.num_tokens = 10, .num_to_come = 500},
                        {.num_tokens = 20, .num_to_come = 2}}),
            510);
}

TEST(PolicyTest, GrowthsAreKeptWithTheLongestStayFirst) {
  std::vector<Growth> running;
  for (const int32_t to_come : {3, 9, 1, 9}) {
    InsertGrowth({.num_to_come = to_come}, running);
  }
  std::vector<int32_t> order;
  for (const Growth& growth : running) order.push_back(growth.num_to_come);
  EXPECT_EQ(order, (std::vector<int32_t>{9, 9, 3, 1}));
}

TEST(PolicyTest, TheLastToArriveIsPreempted) {
  EXPECT_EQ(ChooseVictim({3, 9, 4}), 1u);
  EXPECT_EQ(ChooseVictim({7}), 0u);
}

}  // namespace
}  // namespace drover
