// Of 16 bits other kernels do the products and attention than of float32, and
// others for one row, for few, for some hundred and for many. Whichever do it,
// a token's score is what float32 gives, as near as the type is.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "model/cuda/cuda_executor.h"
#include "tests/model/executor_harness.h"

namespace drover {
namespace {

constexpr int32_t kNumSteps = 8;
constexpr int32_t kPromptTokens = 200;  // of what is computed beside decodes

// What rounding every activation does to the demo model's log-probabilities.
// Measured once (H200): 0.13 at most and 0.011 on average of BFloat16, 0.013
// and 0.0014 of Float16.
struct Tolerance {
  float largest;
  float mean;
};
Tolerance ToleranceOf(DType dtype) {
  return dtype == DType::kBFloat16 ? Tolerance{0.25f, 0.02f}
                                   : Tolerance{0.03f, 0.003f};
}

ExecutorHarness MakeHarness(DType dtype, int32_t num_slots) {
  CudaExecutorOptions options;
  options.model = TestOptions(DemoModel(), dtype);
  options.model.num_slots = num_slots;
  options.model.max_step_tokens = 8192;
  options.model.kv_cache_bytes = 256 << 20;
  return ExecutorHarness(
      ExecutorHarness::ValueOrDie(CudaExecutor::Create(options, nullptr)));
}

struct Sequence {
  std::vector<int32_t> ids;  // the prompt, then what was generated
  size_t num_prompt = 0;
  std::vector<float> logprobs;  // of what was generated
};

class ShortTypesTest
    : public testing::TestWithParam<std::tuple<DType, int32_t>> {
 protected:
  static DType dtype() { return std::get<0>(GetParam()); }
  static int32_t num_decodes() { return std::get<1>(GetParam()); }

  void AddSequence(BatchPlan& plan, int32_t length, int32_t num_tokens) {
    const auto slot = static_cast<int32_t>(sequences_.size());
    Sequence sequence = {.ids = RandomIds(length, static_cast<uint32_t>(slot))};
    sequence.num_prompt = sequence.ids.size();
    plan.admissions.push_back({.slot = {.slot = slot, .generation = 1},
                               .token_ids = sequence.ids,
                               .sampling = GreedyWithScores()});
    plan.work.push_back({.slot = slot,
                         .num_tokens = num_tokens,
                         .new_blocks = harness_.NewBlocks(length + kNumSteps),
                         .sample = num_tokens == length});
    sequences_.push_back(std::move(sequence));
  }

  void Run(BatchPlan plan) {
    for (const SequenceResult& result :
         harness_.Run(std::move(plan)).sequences) {
      Sequence& sequence = sequences_.at(static_cast<size_t>(result.slot.slot));
      sequence.ids.push_back(result.tokens.at(0).id);
      sequence.logprobs.push_back(result.tokens.at(0).logprob);
    }
  }

  // The batch's prompts in one step; decodes, beside which comes another
  // sequence's prompt in three steps; decodes of all.
  void Generate() {
    BatchPlan prompts;
    for (int32_t slot = 0; slot < num_decodes(); ++slot) {
      AddSequence(prompts, 5 + slot % 23, 5 + slot % 23);
    }
    Run(std::move(prompts));
    Run(BatchPlan());
    Run(BatchPlan());
    const int32_t slot = num_decodes();
    BatchPlan first;
    AddSequence(first, kPromptTokens, 70);
    Run(std::move(first));
    BatchPlan second;
    second.work.push_back({.slot = slot, .num_tokens = 70, .sample = false});
    Run(std::move(second));
    BatchPlan last;
    last.work.push_back(
        {.slot = slot, .num_tokens = kPromptTokens - 140, .sample = true});
    Run(std::move(last));
    Run(BatchPlan());
  }

  ExecutorHarness harness_ = MakeHarness(dtype(), num_decodes() + 1);
  std::vector<Sequence> sequences_;
};

// A sequence's log-probabilities, computed alone.
std::vector<float> Score(ExecutorHarness& harness, const Sequence& sequence,
                         uint32_t generation) {
  const SlotRef slot = {.slot = 0, .generation = generation};
  const auto num_ids = static_cast<int32_t>(sequence.ids.size());
  harness.ResetBlocks();
  BatchPlan plan;
  plan.admissions.push_back({.slot = slot,
                             .token_ids = sequence.ids,
                             .sampling = {.prompt_scores = true}});
  plan.work.push_back({.slot = 0,
                       .num_tokens = num_ids,
                       .new_blocks = harness.NewBlocks(num_ids)});
  const StepResult result = harness.Run(std::move(plan));
  std::vector<float> logprobs;
  for (const TokenScore& score : result.sequences.at(0).prompt_scores) {
    logprobs.push_back(score.logprob);
  }
  BatchPlan release;
  release.releases.push_back(slot);
  harness.Run(std::move(release));
  return logprobs;
}

TEST_P(ShortTypesTest, BatchesAndMixedStepsScoreLikeFloat32) {
  Generate();
  ExecutorHarness exact = MakeHarness(DType::kFloat32, /*num_slots=*/1);
  float largest = 0.0f;
  double sum = 0.0;
  size_t count = 0;
  for (size_t slot = 0; slot < sequences_.size(); ++slot) {
    const Sequence& sequence = sequences_[slot];
    ASSERT_EQ(sequence.logprobs.size(),
              slot < sequences_.size() - 1 ? size_t{7} : size_t{2});
    const std::vector<float> expected =
        Score(exact, sequence, static_cast<uint32_t>(slot + 1));
    for (size_t i = 0; i < sequence.logprobs.size(); ++i) {
      const float error = std::abs(sequence.logprobs[i] -
                                   expected.at(sequence.num_prompt - 1 + i));
      EXPECT_LT(error, ToleranceOf(dtype()).largest)
          << "slot " << slot << ", token " << i;
      largest = std::max(largest, error);
      sum += error;
      ++count;
    }
  }
  EXPECT_LT(sum / static_cast<double>(count), ToleranceOf(dtype()).mean);
  RecordProperty("largest", std::to_string(largest));
  RecordProperty("mean", std::to_string(sum / static_cast<double>(count)));
}

INSTANTIATE_TEST_SUITE_P(
    Batches, ShortTypesTest,
    testing::Combine(testing::Values(DType::kBFloat16, DType::kFloat16),
                     testing::Values(1, 2, 12, 40, 64, 70, 130, 200, 256)),
    [](const auto& info) {
      return std::string(DTypeName(std::get<0>(info.param))) + "_" +
             std::to_string(std::get<1>(info.param));
    });

}  // namespace
}  // namespace drover
