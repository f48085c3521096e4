#include "model/model_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/model/executor_harness.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::Not;

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
  EXPECT_EQ(summary.read_bytes, 2 * summary.num_parameters);
  EXPECT_GT(summary.elapsed, absl::ZeroDuration());
}

TEST(ModelExecutorTest, SaysWhatItRunsOn) {
  ModelExecutorOptions options = TestOptions(DemoModel());
  options.num_threads = 2;
  const auto executor = ModelExecutor::Create(options, nullptr);
  ASSERT_THAT(executor, IsOk());
  const DeviceFacts& device = (*executor)->device();
  EXPECT_EQ(device.name, "CPU");
  EXPECT_EQ(device.driver, "");
  EXPECT_EQ(device.num_threads, 2);
  EXPECT_GT(device.memory_bytes, 0);
  EXPECT_EQ(device.kv_cache_bytes,
            (*executor)->info().num_blocks * kBlockSize *
                (*executor)->config().kv_bytes_per_token((*executor)->dtype()));
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
