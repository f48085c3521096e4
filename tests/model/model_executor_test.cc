#include "model/model_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/model/executor_harness.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::Not;

BatchPlan OneSequence(std::vector<int32_t> ids) {
  BatchPlan plan;
  const auto num_ids = static_cast<int32_t>(ids.size());
  plan.admissions.push_back(
      {.slot = {.slot = 0, .generation = 1}, .token_ids = std::move(ids)});
  plan.work.push_back({.slot = 0, .num_tokens = num_ids, .new_blocks = {1, 2}});
  return plan;
}

TEST(ModelExecutorTest, SaysWhatItLoadedAndHowFar) {
  std::vector<std::string> stages;
  int64_t done_bytes = 0;
  int64_t total_bytes = 0;
  const auto executor = ModelExecutor::Create(
      TestOptions(DemoModel()), [&](const LoadProgress& progress) {
        stages.emplace_back(progress.stage);
        if (progress.stage == "weights") {
          done_bytes = progress.done_bytes;
          total_bytes = progress.total_bytes;
        }
      });
  ASSERT_THAT(executor, IsOk());
  EXPECT_EQ(stages.front(), "weights");
  EXPECT_EQ(stages.back(), "warm-up");
  EXPECT_EQ(done_bytes, total_bytes);
  const LoadSummary& summary = (*executor)->summary();
  EXPECT_EQ(summary.num_parameters, (*executor)->config().num_parameters());
  EXPECT_EQ(summary.num_bytes, 4 * summary.num_parameters);
  EXPECT_GT(summary.elapsed, absl::ZeroDuration());
}

TEST(ModelExecutorTest, AMissingModelIsOneLine) {
  const auto executor =
      ModelExecutor::Create(TestOptions("/nonexistent"), nullptr);
  EXPECT_THAT(executor, Not(IsOk()));
  EXPECT_THAT(std::string(executor.status().message()),
              HasSubstr("/nonexistent"));
  EXPECT_THAT(std::string(executor.status().message()), Not(HasSubstr("\n")));
}

TEST(ModelExecutorTest, OptionsThatCannotBeAreNamed) {
  ModelExecutorOptions options = TestOptions(DemoModel());
  options.max_step_tokens = options.num_slots - 1;
  EXPECT_THAT(ModelExecutor::Create(options, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("max_step_tokens")));
  options = TestOptions(DemoModel(), DType::kFloat16);
  EXPECT_THAT(
      ModelExecutor::Create(options, nullptr),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("float16")));
}

TEST(ModelExecutorTest, ABrokenPlanIsAnsweredAndEndsTheExecutor) {
  ExecutorHarness harness(TestOptions(FixtureModel("llama3-gqa")));
  BatchPlan plan;
  plan.work.push_back({.slot = 3});
  EXPECT_THAT(harness.TryRun(plan),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("step 1: slot 3 has work but is not live")));
  harness.Submit(OneSequence({1, 2, 3}));  // no answer, no crash
}

TEST(ModelExecutorTest, StopEndsPlansThatWait) {
  ExecutorHarness harness(TestOptions(FixtureModel("llama3-gqa")));
  harness.Submit(OneSequence({1, 2, 3}));
  harness.Submit(BatchPlan());
  harness.executor().Stop();
  harness.executor().Stop();
}

TEST(ModelExecutorTest, ASequenceReachesTheLastPosition) {
  ModelExecutorOptions options = TestOptions(FixtureModel("llama3-gqa"));
  options.max_sequence_length = 32;
  ExecutorHarness harness(options);
  harness.Run(OneSequence(std::vector<int32_t>(30, 5)));
  harness.Run(BatchPlan());  // position 30
  EXPECT_EQ(harness.Run(BatchPlan()).sequences.at(0).tokens.size(), 1u);
  EXPECT_THAT(harness.TryRun(BatchPlan()), Not(IsOk()));
}

TEST(ModelExecutorTest, NonFiniteWeightsFailTheSequenceNotTheExecutor) {
  // A copy of a fixture whose embedding of token 7 is infinite.
  const TempDir dir;
  const std::filesystem::path from = FixtureModel("qwen2-bias");
  for (const char* name : {"config.json", "generation_config.json"}) {
    std::filesystem::copy(from / name, dir.path());
  }
  std::ifstream file(from / "model.safetensors", std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), {});
  uint64_t header_size = 0;
  memcpy(&header_size, bytes.data(), sizeof(header_size));
  const std::string header = bytes.substr(8, header_size);
  const size_t entry = header.find("\"model.embed_tokens.weight\"");
  const size_t offsets = header.find("\"data_offsets\":[", entry);
  const size_t begin =
      8 + header_size + std::stoull(header.substr(offsets + 16));
  const float infinity = std::numeric_limits<float>::infinity();
  memcpy(&bytes[begin + 7 * 64 * sizeof(float)], &infinity, sizeof(float));
  dir.Write("model.safetensors", bytes);

  ExecutorHarness harness(TestOptions(dir.path()));
  const StepResult failed = harness.Run(OneSequence({1, 7, 2}));
  ASSERT_EQ(failed.sequences.size(), 1u);
  EXPECT_EQ(failed.sequences[0].status, SequenceStatus::kNonFiniteLogits);
  EXPECT_TRUE(failed.sequences[0].tokens.empty());
  // The plan ahead of that result still decodes it; others are not touched.
  BatchPlan plan;
  plan.admissions.push_back(
      {.slot = {.slot = 1, .generation = 1}, .token_ids = {1, 2, 3}});
  plan.work.push_back({.slot = 1, .num_tokens = 3, .new_blocks = {3}});
  const StepResult next = harness.Run(plan);
  ASSERT_EQ(next.sequences.size(), 2u);
  EXPECT_EQ(next.sequences[0].status, SequenceStatus::kNonFiniteLogits);
  EXPECT_EQ(next.sequences[1].status, SequenceStatus::kOk);
  EXPECT_EQ(next.sequences[1].tokens.size(), 1u);
}

TEST(ModelExecutorTest, DummyWeightsAreTheSameEveryTime) {
  auto config = LoadModelConfig(FixtureModel("llama3-gqa"));
  ASSERT_THAT(config, IsOk());
  ModelExecutorOptions options = TestOptions("");
  options.dummy = *config;
  std::vector<SequenceResult> results;
  for (const int32_t num_threads : {1, 2}) {
    options.num_threads = num_threads;
    ExecutorHarness harness(options);
    BatchPlan plan = OneSequence({1, 2, 3, 4});
    plan.admissions[0].sampling = GreedyWithScores(/*top_n=*/4);
    results.push_back(harness.Run(std::move(plan)).sequences.at(0));
  }
  ASSERT_EQ(results[0].tokens.size(), 1u);
  EXPECT_EQ(results[0].tokens[0].id, results[1].tokens[0].id);
  EXPECT_NEAR(results[0].tokens[0].logprob, results[1].tokens[0].logprob, 1e-5);
  // Random, yet no degenerate distribution.
  EXPECT_LT(results[0].tokens[0].logprob, -1.0f);
}

}  // namespace
}  // namespace drover
