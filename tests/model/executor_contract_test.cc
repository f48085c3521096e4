// What every executor owes the scheduler beyond the right tokens.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "tests/model/executor_harness.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ExecutorContractTest, ABrokenPlanIsAnsweredAndEndsTheExecutor) {
  ExecutorHarness harness(TestOptions(FixtureModel("llama3-gqa")));
  BatchPlan plan;
  plan.work.push_back({.slot = 3});
  EXPECT_THAT(harness.TryRun(plan),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("step 1: slot 3 has work but is not live")));
  harness.Submit(OneSequence({1, 2, 3}));  // no answer, no crash
}

TEST(ExecutorContractTest, StopEndsPlansThatWait) {
  ExecutorHarness harness(TestOptions(FixtureModel("llama3-gqa")));
  harness.Submit(OneSequence({1, 2, 3}));
  harness.Submit(BatchPlan());
  harness.executor().Stop();
  harness.executor().Stop();
}

TEST(ExecutorContractTest, ASequenceReachesTheLastPosition) {
  ModelExecutorOptions options = TestOptions(FixtureModel("llama3-gqa"));
  options.max_sequence_length = 32;
  ExecutorHarness harness(options);
  harness.Run(OneSequence(std::vector<int32_t>(30, 5)));
  harness.Run(BatchPlan());  // position 30
  EXPECT_EQ(harness.Run(BatchPlan()).sequences.at(0).tokens.size(), 1u);
  EXPECT_THAT(harness.TryRun(BatchPlan()), Not(IsOk()));
}

TEST(ExecutorContractTest, NonFiniteWeightsFailTheSequenceNotTheExecutor) {
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

}  // namespace
}  // namespace drover
