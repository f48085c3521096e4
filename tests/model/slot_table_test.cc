#include "model/slot_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/batch_tensors.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr SlotTable::Limits kLimits = {.num_slots = 4,
                                       .num_blocks = 10,
                                       .max_step_tokens = 40,
                                       .max_sequence_length = 64,
                                       .vocab_size = 100,
                                       .pad_id = 5,
                                       .row_bytes = 2};

BatchPlan AdmitPlan(int32_t slot, int32_t num_ids, int32_t num_tokens,
                    std::vector<int32_t> blocks) {
  BatchPlan plan;
  plan.admissions.push_back(
      {.slot = {.slot = slot, .generation = 1},
       .token_ids = std::vector<int32_t>(static_cast<size_t>(num_ids), 7)});
  plan.work.push_back({.slot = slot,
                       .num_tokens = num_tokens,
                       .new_blocks = std::move(blocks),
                       .sample = num_tokens == num_ids});
  return plan;
}

class SlotTableTest : public testing::Test {
 protected:
  // Applies a plan that must be good, and pretends to have run it.
  void Run(const BatchPlan& plan) {
    const auto work = table_.Apply(plan);
    ASSERT_THAT(work, IsOk());
    for (const SlotWork& item : *work) {
      item.slot->num_computed += item.num_tokens;
      if (item.sample) item.slot->Append(9);
    }
  }

  // What such a plan makes of a step.
  BatchTensors BatchOf(const BatchPlan& plan) {
    BatchTensors batch;
    const auto work = table_.Apply(plan);
    EXPECT_THAT(work, IsOk());
    if (work.ok()) batch.Build(*work);
    return batch;
  }

  SlotTable table_{kLimits, /*eos_ids=*/{}};
};

TEST_F(SlotTableTest, ALiveSlotThatIsNotNamedDecodesItsNewestToken) {
  Run(AdmitPlan(2, 5, 5, {3}));
  const auto work = table_.Apply(BatchPlan());
  ASSERT_THAT(work, IsOk());
  ASSERT_EQ(work->size(), 1u);
  EXPECT_EQ(work->at(0).num_tokens, 1);
  EXPECT_TRUE(work->at(0).sample);
  EXPECT_EQ(work->at(0).slot->ref.slot, 2);

  BatchTensors batch;
  batch.Build(*work);
  EXPECT_EQ(batch.token_ids[0], 9);
  EXPECT_EQ(batch.positions[0], 5);
  EXPECT_EQ(batch.kv_slots[0], 3 * kBlockSize + 5);
}

TEST_F(SlotTableTest, ASlotWithNoTokensSitsOut) {
  Run(AdmitPlan(2, 5, 5, {3}));
  BatchPlan plan;
  plan.work.push_back({.slot = 2, .num_tokens = 0, .sample = false});
  const auto work = table_.Apply(plan);
  ASSERT_THAT(work, IsOk());
  EXPECT_TRUE(work->empty());
}

TEST_F(SlotTableTest, AReleasedSlotCanBeAdmittedInTheSamePlan) {
  Run(AdmitPlan(1, 5, 5, {3}));
  BatchPlan plan = AdmitPlan(1, 8, 8, {4});
  plan.releases.push_back({.slot = 1, .generation = 1});
  EXPECT_THAT(table_.Apply(plan), IsOk());
}

TEST_F(SlotTableTest, ShapesOfAMixedStep) {
  Run(AdmitPlan(0, 5, 5, {1}));
  Run([] {
    BatchPlan plan = AdmitPlan(3, 30, 14, {8, 2});
    plan.admissions[0].sampling.prompt_scores = true;
    return plan;
  }());
  // Slot 0 decodes position 6, slot 3 goes on with 14 .. 19.
  BatchPlan plan;
  plan.work.push_back({.slot = 3, .num_tokens = 6, .sample = false});
  const BatchTensors batch = BatchOf(plan);

  EXPECT_THAT(batch.token_ids, ElementsAre(9, 7, 7, 7, 7, 7, 7));
  EXPECT_THAT(batch.positions, ElementsAre(6, 14, 15, 16, 17, 18, 19));
  EXPECT_THAT(batch.kv_slots, ElementsAre(22, 142, 143, 32, 33, 34, 35));
  EXPECT_THAT(batch.query_start, ElementsAre(0, 1, 7));
  EXPECT_THAT(batch.kv_len, ElementsAre(7, 20));
  EXPECT_EQ(batch.max_blocks_per_sequence, 2);
  EXPECT_THAT(batch.block_tables, ElementsAre(1, kScratchBlock, 8, 2));
  ASSERT_EQ(batch.logit_rows.size(), 7u);
  EXPECT_EQ(batch.logit_rows[0].row, 0);
  EXPECT_EQ(batch.logit_rows[0].scored_position, LogitRow::kSample);
  EXPECT_EQ(batch.logit_rows[1].row, 1);
  EXPECT_EQ(batch.logit_rows[1].scored_position, 15);
  EXPECT_EQ(batch.logit_rows[6].scored_position, 20);
}

TEST_F(SlotTableTest, OfAStepThatWantsFewRowsTheseAreNamed) {
  Run(AdmitPlan(0, 5, 5, {1}));
  const BatchTensors batch = BatchOf(AdmitPlan(3, 14, 14, {8}));
  // Slot 0's token and slot 3's last, and two rows that nobody reads.
  EXPECT_THAT(batch.wanted_rows, ElementsAre(0, 14, 0, 0));
  EXPECT_THAT(batch.logit_rows,
              ElementsAre(Field(&LogitRow::row, 0), Field(&LogitRow::row, 1)));
}

TEST_F(SlotTableTest, OfASmallStepNoRowIsLeftOut) {
  const BatchTensors batch = BatchOf(AdmitPlan(0, 3, 3, {1}));
  EXPECT_THAT(batch.wanted_rows, IsEmpty());
  EXPECT_THAT(batch.logit_rows, ElementsAre(Field(&LogitRow::row, 2)));
}

TEST_F(SlotTableTest, AChunkThatIsNotTheLastWantsNoRow) {
  const BatchTensors batch = BatchOf(AdmitPlan(0, 14, 9, {1}));
  EXPECT_THAT(batch.logit_rows, IsEmpty());
  EXPECT_THAT(batch.wanted_rows, ElementsAre(0, 0, 0, 0));
}

TEST_F(SlotTableTest, SmallStepsArePaddedIntoTheScratchBlock) {
  Run(AdmitPlan(0, 5, 5, {1}));
  const BatchTensors batch = BatchOf(BatchPlan());
  EXPECT_THAT(batch.kv_slots, ElementsAre(21, 0, 0, 0));
  EXPECT_THAT(batch.query_start, ElementsAre(0, 1));
}

TEST_F(SlotTableTest, ASequenceThatFailedRunsNothing) {
  Run(AdmitPlan(0, 5, 5, {1}));
  Run(AdmitPlan(1, 5, 5, {2}));
  table_.Apply(BatchPlan())->at(0).slot->failed = true;
  const BatchTensors batch = BatchOf(BatchPlan());
  EXPECT_THAT(batch.query_start, ElementsAre(0, 1));
  EXPECT_THAT(batch.block_tables, ElementsAre(2));
}

// Three rows of two bytes: "aA", "bB", "cC".
BatchPlan PrefixPlan(int32_t slot, int32_t num_tokens) {
  BatchPlan plan = AdmitPlan(slot, 5, num_tokens, {1});
  plan.prefix_loads.push_back(
      {.handle = 8,
       .prefix = std::make_shared<PromptPrefix>(
           PromptPrefix{.num_tokens = 3, .rows = "aAbBcC"})});
  plan.admissions[0].prefix = 8;
  plan.admissions[0].sampling.prompt_scores = true;
  plan.work[0].sample = num_tokens == 8;
  return plan;
}

TEST_F(SlotTableTest, APrefixTakesTheFirstPositions) {
  const BatchTensors batch = BatchOf(PrefixPlan(0, 8));
  EXPECT_THAT(batch.token_ids, ElementsAre(5, 5, 5, 7, 7, 7, 7, 7));
  EXPECT_THAT(batch.positions, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  ASSERT_EQ(batch.prefix_rows.size(), 1u);
  EXPECT_EQ(batch.prefix_rows[0].first_row, 0);
  EXPECT_EQ(batch.prefix_rows[0].bytes, "aAbBcC");
  // Seven positions are scored, the prefix's included, and one samples.
  EXPECT_EQ(batch.logit_rows.size(), 8u);
}

TEST_F(SlotTableTest, ChunksCutAPrefixAnywhere) {
  Run(AdmitPlan(0, 2, 2, {2}));  // one more row, in front of the prefix's
  Run(PrefixPlan(1, 1));
  BatchPlan plan;
  plan.work.push_back({.slot = 1, .num_tokens = 4, .sample = false});
  const auto work = table_.Apply(plan);
  ASSERT_THAT(work, IsOk());
  BatchTensors batch;
  batch.Build(*work);
  EXPECT_THAT(batch.token_ids, ElementsAre(9, 5, 5, 7, 7));
  ASSERT_EQ(batch.prefix_rows.size(), 1u);
  EXPECT_EQ(batch.prefix_rows[0].first_row, 1);
  EXPECT_EQ(batch.prefix_rows[0].bytes, "bBcC");

  for (const SlotWork& item : *work) item.slot->num_computed += item.num_tokens;
  const auto rest = table_.Apply([] {
    BatchPlan plan;
    plan.work.push_back({.slot = 0, .num_tokens = 0, .sample = false});
    plan.work.push_back({.slot = 1, .num_tokens = 3});
    return plan;
  }());
  ASSERT_THAT(rest, IsOk());
  batch.Build(*rest);
  EXPECT_TRUE(batch.prefix_rows.empty());
}

TEST_F(SlotTableTest, ADroppedPrefixIsGone) {
  Run(PrefixPlan(0, 8));
  BatchPlan plan;
  plan.releases.push_back({.slot = 0, .generation = 1});
  plan.prefix_drops = {8};
  Run(plan);
  EXPECT_THAT(table_.Apply([] {
    BatchPlan plan = AdmitPlan(0, 5, 5, {1});
    plan.admissions[0].prefix = 8;
    return plan;
  }()),
              StatusIs(absl::StatusCode::kInternal,
                       "slot 0 is admitted with prefix 8, which is not "
                       "loaded"));
}

struct BrokenPlan {
  std::string name;
  std::function<BatchPlan()> plan;
  std::string message;
};

void PrintTo(const BrokenPlan& broken, std::ostream* out) {
  *out << broken.name;
}

class BrokenPlanTest : public SlotTableTest,
                       public testing::WithParamInterface<BrokenPlan> {};

// Slot 0 is live: five tokens and one generated, in block 1.
TEST_P(BrokenPlanTest, IsAnInternalErrorThatSaysWhatIsWrong) {
  Run(AdmitPlan(0, 5, 5, {1}));
  EXPECT_THAT(
      table_.Apply(GetParam().plan()),
      StatusIs(absl::StatusCode::kInternal, HasSubstr(GetParam().message)));
}

BatchPlan WorkPlan(SequenceWork work) {
  BatchPlan plan;
  plan.work.push_back(std::move(work));
  return plan;
}

BatchPlan ReleasePlan(SlotRef ref) {
  BatchPlan plan;
  plan.releases.push_back(ref);
  return plan;
}

BatchPlan AdmitIdPlan(int32_t id) {
  BatchPlan plan = AdmitPlan(1, 1, 1, {2});
  plan.admissions[0].token_ids = {id};
  return plan;
}

BatchPlan LoadPlan(int64_t handle, int32_t num_tokens, std::string rows) {
  BatchPlan plan;
  plan.prefix_loads.push_back(
      {.handle = handle,
       .prefix = std::make_shared<PromptPrefix>(
           PromptPrefix{.num_tokens = num_tokens, .rows = std::move(rows)})});
  return plan;
}

INSTANTIATE_TEST_SUITE_P(
    Plans, BrokenPlanTest,
    testing::Values(
        BrokenPlan{"PrefixWithoutHandle", [] { return LoadPlan(0, 1, "aA"); },
                   "prefix 0 is loaded twice, or is none"},
        BrokenPlan{"PrefixTwice",
                   [] {
                     BatchPlan plan = LoadPlan(4, 1, "aA");
                     plan.prefix_loads.push_back(plan.prefix_loads[0]);
                     return plan;
                   },
                   "prefix 4 is loaded twice, or is none"},
        BrokenPlan{"PrefixOfAnotherModel", [] { return LoadPlan(4, 1, "aAa"); },
                   "prefix 4 has 3 bytes for 1 rows, each of 2"},
        BrokenPlan{"PrefixWithoutRows", [] { return LoadPlan(4, 0, ""); },
                   "prefix 4 has 0 bytes for 0 rows, each of 2"},
        BrokenPlan{"DropOfNoPrefix",
                   [] {
                     BatchPlan plan;
                     plan.prefix_drops = {4};
                     return plan;
                   },
                   "prefix 4 is dropped but not loaded"},
        BrokenPlan{"AdmissionWithTooLongAPrefix",
                   [] {
                     BatchPlan plan = LoadPlan(4, 60, std::string(120, 'a'));
                     BatchPlan admit = AdmitPlan(1, 5, 5, {2});
                     plan.admissions = admit.admissions;
                     plan.admissions[0].prefix = 4;
                     return plan;
                   },
                   "slot 1 is admitted with 5 tokens, not 1 to 4"},
        BrokenPlan{"ReleaseOfAnEmptySlot",
                   [] { return ReleasePlan({.slot = 3, .generation = 1}); },
                   "slot 3 of generation 1 is released but not live"},
        BrokenPlan{"ReleaseOfAnotherGeneration",
                   [] { return ReleasePlan({.slot = 0, .generation = 2}); },
                   "slot 0 of generation 2 is released but not live"},
        BrokenPlan{"AdmissionBeyondTheSlots",
                   [] { return AdmitPlan(4, 1, 1, {2}); },
                   "slot 4 is admitted, but there are only 4"},
        BrokenPlan{"AdmissionToALiveSlot",
                   [] { return AdmitPlan(0, 1, 1, {2}); },
                   "slot 0 is admitted but already live"},
        BrokenPlan{"AdmissionOfNothing", [] { return AdmitPlan(1, 0, 1, {2}); },
                   "with 0 tokens, not 1 to 64"},
        BrokenPlan{"AdmissionOfTooMuch",
                   [] { return AdmitPlan(1, 65, 1, {2}); },
                   "with 65 tokens, not 1 to 64"},
        BrokenPlan{"TokenOutsideTheVocabulary", [] { return AdmitIdPlan(100); },
                   "token 100, outside the vocabulary of 100"},
        BrokenPlan{"NegativeToken", [] { return AdmitIdPlan(-1); },
                   "token -1, outside the vocabulary of 100"},
        BrokenPlan{"ScratchBlock", [] { return AdmitPlan(1, 1, 1, {0}); },
                   "block 0, not one of 1 to 9"},
        BrokenPlan{"BlockBeyondTheCache",
                   [] { return AdmitPlan(1, 1, 1, {10}); },
                   "block 10, not one of 1 to 9"},
        BrokenPlan{"TooFewBlocks", [] { return AdmitPlan(1, 17, 17, {2}); },
                   "has only 1 blocks"},
        BrokenPlan{"WorkOnAnEmptySlot", [] { return WorkPlan({.slot = 1}); },
                   "slot 1 has work but is not live"},
        BrokenPlan{"WorkBeyondTheSlots", [] { return WorkPlan({.slot = 9}); },
                   "slot 9 is out of order or out of range"},
        BrokenPlan{"MoreTokensThanKnown",
                   [] { return WorkPlan({.slot = 0, .num_tokens = 2}); },
                   "runs 2 tokens after 5, but has 6"},
        BrokenPlan{"SampleBeforeTheEnd",
                   [] {
                     BatchPlan plan = AdmitPlan(1, 9, 4, {2});
                     plan.work[0].sample = true;
                     return plan;
                   },
                   "samples before the end of its 9"},
        BrokenPlan{"NoSampleAtTheEnd",
                   [] {
                     BatchPlan plan = AdmitPlan(1, 9, 9, {2});
                     plan.work[0].sample = false;
                     return plan;
                   },
                   "does not sample at the end of its 9"},
        BrokenPlan{"MoreTokensThanAStepHolds",
                   [] {
                     return AdmitPlan(1, 40, 40, {2, 3, 4});
                   },
                   "the plan runs 41 tokens, more than the 40 of a step"}),
    [](const testing::TestParamInfo<BrokenPlan>& info) {
      return info.param.name;
    });

}  // namespace
}  // namespace drover
