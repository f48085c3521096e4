// What only the CUDA executor has: graphs, padded buckets, other dtypes.

#include "model/cuda/cuda_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/kernels/cuda/cuda_kernels.h"
#include "tests/model/executor_harness.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using testing::HasSubstr;

// What rounding every activation does to the demo model's log-probabilities;
// the largest of 200, and their mean.
struct DTypeTolerance {
  DType dtype;
  float largest;
  float mean;
};

constexpr DTypeTolerance kTolerances[] = {
    {DType::kBFloat16, 0.25f, 0.04f},
    {DType::kFloat16, 0.05f, 0.008f},
};

CudaExecutorOptions CudaOptions(DType dtype, bool use_graphs) {
  CudaExecutorOptions options;
  options.model = TestOptions(DemoModel(), dtype);
  options.use_graphs = use_graphs;
  return options;
}

ExecutorHarness MakeHarness(const CudaExecutorOptions& options) {
  return ExecutorHarness(
      ExecutorHarness::ValueOrDie(CudaExecutor::Create(options, nullptr)));
}

// Of 16 one step's tokens.
int32_t PromptLength(int32_t slot) { return 5 + 3 * slot; }

// The results of one prefill of `num_sequences` and of some decodes.
std::vector<SequenceResult> Generate(
    const CudaExecutorOptions& options, int32_t num_sequences,
    const SamplingParams& sampling = GreedyWithScores(/*top_n=*/2)) {
  constexpr int32_t kNumDecodes = 12;
  ExecutorHarness harness = MakeHarness(options);
  BatchPlan plan;
  for (int32_t slot = 0; slot < num_sequences; ++slot) {
    const int32_t length = PromptLength(slot);
    plan.admissions.push_back(
        {.slot = {.slot = slot, .generation = 1},
         .token_ids = RandomIds(length, static_cast<uint32_t>(slot)),
         .sampling = sampling});
    plan.work.push_back(
        {.slot = slot,
         .num_tokens = length,
         .new_blocks = harness.NewBlocks(length + kNumDecodes)});
  }
  std::vector<SequenceResult> results = harness.Run(std::move(plan)).sequences;
  for (int32_t i = 0; i < kNumDecodes; ++i) {
    for (SequenceResult& result : harness.Run(BatchPlan()).sequences) {
      results.push_back(std::move(result));
    }
  }
  return results;
}

TEST(CudaGraphTest, AGraphComputesWhatItsKernelsComputeOneByOne) {
  const SamplingParams drawn = {.greedy = false,
                                .temperature = 0.8f,
                                .top_k = 50,
                                .top_p = 0.9f,
                                .typical_p = 0.95f,
                                .repetition_penalty = 1.2f,
                                .seed = 7,
                                .top_n = 2};
  // Sizes of a bucket, so that the two run the same shapes.
  for (const int32_t num_sequences : {1, 2, 4, 8, 16}) {
    for (const SamplingParams& sampling : {GreedyWithScores(2), drawn}) {
      EXPECT_EQ(Generate(CudaOptions(DType::kBFloat16, true), num_sequences,
                         sampling),
                Generate(CudaOptions(DType::kBFloat16, false), num_sequences,
                         sampling))
          << num_sequences << " sequences";
    }
  }
}

TEST(CudaGraphTest, PaddingToABucketChangesNoSequence) {
  // Eager steps have the exact size; 3, 5 and 11 are padded to 4, 8 and 16.
  for (const int32_t num_sequences : {3, 5, 11}) {
    const std::vector<SequenceResult> padded =
        Generate(CudaOptions(DType::kFloat32, true), num_sequences);
    const std::vector<SequenceResult> exact =
        Generate(CudaOptions(DType::kFloat32, false), num_sequences);
    ASSERT_EQ(padded.size(), exact.size());
    for (size_t i = 0; i < exact.size(); ++i) {
      const TokenScore& token = exact[i].tokens.at(0);
      if (token.top.at(0).logprob - token.top.at(1).logprob < 1e-3f) break;
      EXPECT_EQ(padded[i].tokens.at(0).id, token.id) << "result " << i;
      EXPECT_NEAR(padded[i].tokens.at(0).logprob, token.logprob, 1e-4f);
    }
  }
}

std::vector<float> PromptLogprobs(DType dtype, std::vector<int32_t> ids) {
  const auto num_ids = static_cast<int32_t>(ids.size());
  ExecutorHarness harness = MakeHarness(CudaOptions(dtype, false));
  BatchPlan plan;
  plan.admissions.push_back({.slot = {.slot = 2, .generation = 1},
                             .token_ids = std::move(ids),
                             .sampling = {.prompt_scores = true}});
  plan.work.push_back({.slot = 2,
                       .num_tokens = num_ids,
                       .new_blocks = harness.NewBlocks(num_ids)});
  std::vector<float> logprobs;
  const StepResult result = harness.Run(std::move(plan));
  for (const TokenScore& score : result.sequences.at(0).prompt_scores) {
    logprobs.push_back(score.logprob);
  }
  return logprobs;
}

TEST(CudaDTypeTest, ShortTypesScoreLikeFloat32WithinTheStatedTolerance) {
  const std::vector<int32_t> ids = RandomIds(200, /*seed=*/9);
  const std::vector<float> exact = PromptLogprobs(DType::kFloat32, ids);
  for (const DTypeTolerance& tolerance : kTolerances) {
    const std::vector<float> rounded = PromptLogprobs(tolerance.dtype, ids);
    ASSERT_EQ(rounded.size(), exact.size());
    double sum = 0.0;
    for (size_t i = 0; i < exact.size(); ++i) {
      const float error = std::abs(exact[i] - rounded[i]);
      EXPECT_LT(error, tolerance.largest)
          << DTypeName(tolerance.dtype) << ", prompt token " << i + 1;
      sum += error;
    }
    EXPECT_LT(sum / static_cast<double>(exact.size()), tolerance.mean)
        << DTypeName(tolerance.dtype);
  }
}

// One, two and three rows go different ways through the products, and not all
// of the demo model's widths suit each of them.
TEST(CudaDTypeTest, DecodesScoreLikeAPrefillInFloat32) {
  for (const DTypeTolerance& tolerance : kTolerances) {
    for (const int32_t num_sequences : {1, 2, 3}) {
      const std::vector<SequenceResult> results =
          Generate(CudaOptions(tolerance.dtype, true), num_sequences);
      for (int32_t slot = 0; slot < num_sequences; ++slot) {
        std::vector<int32_t> ids =
            RandomIds(PromptLength(slot), static_cast<uint32_t>(slot));
        const size_t num_prompt = ids.size();
        std::vector<float> logprobs;
        for (const SequenceResult& result : results) {
          if (result.slot.slot != slot) continue;
          ids.push_back(result.tokens.at(0).id);
          logprobs.push_back(result.tokens.at(0).logprob);
        }
        const std::vector<float> exact = PromptLogprobs(DType::kFloat32, ids);
        for (size_t i = 0; i < logprobs.size(); ++i) {
          EXPECT_NEAR(logprobs[i], exact[num_prompt - 1 + i], tolerance.largest)
              << DTypeName(tolerance.dtype) << ", " << num_sequences
              << " sequences, slot " << slot << ", token " << i;
        }
      }
    }
  }
}

TEST(CudaExecutorTest, ReportsHowLongEachStageOfItsStartTook) {
  const auto executor =
      CudaExecutor::Create(CudaOptions(DType::kBFloat16, true), nullptr);
  ASSERT_THAT(executor, IsOk());
  std::vector<std::string> names;
  for (const StartupStage& stage : (*executor)->stages()) {
    names.push_back(stage.name);
  }
  EXPECT_THAT(names, testing::ElementsAre("device", "weights", "tuning",
                                          "warm-up", "kv_cache", "graphs"));
}

// Whose small steps are other ones than those of many slots.
TEST(CudaExecutorTest, StartsWithOneSlotAndWithShortSequences) {
  for (const int32_t num_slots : {1, 3}) {
    CudaExecutorOptions options = CudaOptions(DType::kBFloat16, true);
    options.model.num_slots = num_slots;
    options.model.max_sequence_length = 64;
    ExecutorHarness harness = MakeHarness(options);
    EXPECT_EQ(
        harness.Run(OneSequence(RandomIds(20, /*seed=*/1))).sequences.size(),
        1u);
  }
}

TEST(CudaExecutorTest, SaysWhatItRunsOn) {
  const auto executor =
      CudaExecutor::Create(CudaOptions(DType::kBFloat16, true), nullptr);
  ASSERT_THAT(executor, IsOk());
  const DeviceFacts& device = (*executor)->device();
  EXPECT_NE(device.name, "");
  EXPECT_NE(device.compute_capability, "");
  EXPECT_THAT(device.driver, HasSubstr("CUDA "));
  EXPECT_EQ(device.num_threads, 0);
  EXPECT_GT(device.free_bytes, 0);
  // Others may take some meanwhile, or give it back.
  EXPECT_GT(device.memory_bytes, device.free_bytes);
  EXPECT_GT(device.memory_bytes, device.free_bytes_at_start);
  EXPECT_GT(device.kv_cache_bytes, 0);
}

// In a process of its own, whose GPU context is lost with it.
TEST(CudaExecutorDeathTest, AnErrorThatSticksFailsTheStepWithItsCause) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto run = [] {
    ExecutorHarness harness = MakeHarness(CudaOptions(DType::kBFloat16, true));
    harness.Run(OneSequence(RandomIds(20, /*seed=*/1)));
    // A kernel of somebody's that reads where nothing is.
    kernels::cuda::GatherRows<float>({.num_rows = 1, .row_size = 4}, nullptr);
    std::fputs(harness.TryRun(BatchPlan()).status().ToString().c_str(), stderr);
    std::_Exit(3);
  };
  EXPECT_EXIT(run(), ::testing::ExitedWithCode(3),
              "INTERNAL.*an illegal memory access");
}

TEST(CudaExecutorTest, OptionsThatCannotBeAreNamed) {
  CudaExecutorOptions options = CudaOptions(DType::kBFloat16, true);
  options.gpu_memory_fraction = 1.5;
  EXPECT_THAT(CudaExecutor::Create(options, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("gpu_memory_fraction")));
}

TEST(CudaExecutorTest, TooSmallAFractionOfTheMemoryIsRefusedByName) {
  CudaExecutorOptions options = CudaOptions(DType::kBFloat16, true);
  options.model.kv_cache_bytes = 0;
  options.gpu_memory_fraction = 1e-6;
  EXPECT_THAT(CudaExecutor::Create(options, nullptr),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("too little GPU memory: the weights take")));
}

}  // namespace
}  // namespace drover
