// The ways in which ranks add up what they computed, each of which a number of
// rows leads to.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "model/cuda/cuda_executor.h"
#include "tests/model/executor_harness.h"
#include "tests/model/rank_group.h"

namespace drover {
namespace {

constexpr int32_t kLength = 300;

std::vector<int32_t> RandomIds(unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int32_t> uniform(3, 255);
  std::vector<int32_t> ids(kLength);
  for (int32_t& id : ids) id = uniform(random);
  return ids;
}

// The prompts' log-probabilities, all in one step, sequence after sequence.
std::vector<float> Scores(ExecutorHarness& harness, int32_t first,
                          int32_t count, uint32_t generation) {
  harness.ResetBlocks();
  SamplingParams sampling = GreedyWithScores();
  sampling.prompt_scores = true;
  BatchPlan plan;
  BatchPlan release;
  for (int32_t slot = 0; slot < count; ++slot) {
    const SlotRef ref = {.slot = slot, .generation = generation};
    plan.admissions.push_back(
        {.slot = ref,
         .token_ids = RandomIds(static_cast<unsigned>(first + slot)),
         .sampling = sampling});
    plan.work.push_back({.slot = slot,
                         .num_tokens = kLength,
                         .new_blocks = harness.NewBlocks(kLength + 1),
                         .sample = true});
    release.releases.push_back(ref);
  }
  std::vector<float> scores;
  for (const auto& sequence : harness.Run(std::move(plan)).sequences) {
    for (const TokenScore& score : sequence.prompt_scores) {
      scores.push_back(score.logprob);
    }
    scores.push_back(sequence.tokens.at(0).logprob);
  }
  harness.Run(std::move(release));
  return scores;
}

// Of a size for which every kernel of Hopper's is used.
ModelExecutorOptions LargerModel() {
  absl::StatusOr<ModelConfig> config =
      LoadModelConfig(FixtureModel("llama3-gqa"));
  EXPECT_TRUE(config.ok());
  config->hidden_size = 512;
  config->num_heads = 8;
  config->num_kv_heads = 4;
  config->head_dim = 64;
  config->intermediate_size = 1024;
  ModelExecutorOptions options = TestOptions("", DType::kBFloat16);
  options.dummy = *std::move(config);
  return options;
}

// The log-probabilities of one prompt, computed in chunks of `chunk` tokens.
std::vector<float> ChunkedScores(ExecutorHarness& harness, int32_t num_ids,
                                 int32_t chunk) {
  harness.ResetBlocks();
  std::vector<int32_t> ids = RandomIds(1);
  ids.resize(static_cast<size_t>(num_ids));
  // Chunks number the slot's users apart.
  const SlotRef ref = {.slot = 0, .generation = static_cast<uint32_t>(chunk)};
  std::vector<float> scores;
  for (int32_t begin = 0; begin < num_ids; begin += chunk) {
    BatchPlan plan;
    SequenceWork work = {.slot = 0,
                         .num_tokens = std::min(chunk, num_ids - begin)};
    if (begin == 0) {
      SamplingParams sampling = GreedyWithScores();
      sampling.prompt_scores = true;
      plan.admissions.push_back(
          {.slot = ref, .token_ids = ids, .sampling = sampling});
      work.new_blocks = harness.NewBlocks(num_ids + 1);
    }
    work.sample = begin + work.num_tokens == num_ids;
    plan.work.push_back(std::move(work));
    for (const auto& sequence : harness.Run(std::move(plan)).sequences) {
      for (const TokenScore& token : sequence.prompt_scores) {
        scores.push_back(token.logprob);
      }
    }
  }
  BatchPlan release;
  release.releases.push_back(ref);
  harness.Run(std::move(release));
  return scores;
}

void ExpectNear(const std::vector<float>& scores,
                const std::vector<float>& expected) {
  ASSERT_EQ(scores.size(), expected.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    ASSERT_NEAR(scores[i], expected[i], 0.05f) << i;
  }
}

// One row's sum is joined by the Gemv after it, a few rows are sent, more are
// read.
TEST(CudaRanksTest, HowSumsAreMadeMakesNoDifference) {
  ExecutorHarness harness(LargerModel());
  const std::vector<float> read = ChunkedScores(harness, 80, 80);
  ASSERT_EQ(read.size(), 79u);
  for (const int32_t chunk : {1, 2, 20}) {
    SCOPED_TRACE(chunk);
    ExpectNear(ChunkedScores(harness, 80, chunk), read);
  }
}

// `options` beside those of a rank.
void ExpectNcclToAddUpTheSame(CudaExecutorOptions options) {
  ExecutorHarness harness(LargerModel());
  ExecutorHarness by_nccl(
      ExecutorHarness::ValueOrDie(testing::RankGroup::Create(
          LargerModel(), /*world_size=*/2, /*ends_plans=*/false,
          [options](const ModelExecutorOptions& own) mutable {
            options.model = own;
            options.device = own.collective->rank();
            return CudaExecutor::Create(options, nullptr);
          })));
  for (const int32_t chunk : {80, 20, 1}) {
    SCOPED_TRACE(chunk);
    ExpectNear(ChunkedScores(by_nccl, 80, chunk),
               ChunkedScores(harness, 80, chunk));
  }
}

TEST(CudaRanksTest, NcclAddsUpTheSame) {
  ExpectNcclToAddUpTheSame({.nccl_above_bytes = 0});
}

TEST(CudaRanksTest, RanksThatCannotShowEachOtherMemoryAddUpTheSame) {
  ExpectNcclToAddUpTheSame({.shares_memory = false});
}

void ExpectPiecesToMakeNoDifference(ModelExecutorOptions options,
                                    float tolerance) {
  options.max_step_tokens = 2048;
  ExecutorHarness harness(options);
  std::vector<float> alone;
  for (int32_t i = 0; i < 5; ++i) {
    const auto scores = Scores(harness, i, 1, static_cast<uint32_t>(i + 1));
    alone.insert(alone.end(), scores.begin(), scores.end());
  }
  // 1500 rows, more than once: what one step leaves must not be in the way; and
  // with fewer in between, in pieces of other sizes.
  uint32_t generation = 10;
  for (const int32_t count : {5, 4, 1, 5}) {
    const auto together = Scores(harness, 0, count, generation++);
    ASSERT_EQ(together.size(), alone.size() / 5 * static_cast<size_t>(count));
    for (size_t i = 0; i < together.size(); ++i) {
      ASSERT_NEAR(together[i], alone[i], tolerance) << count << ", " << i;
    }
  }
}

TEST(CudaRanksTest, ScoresInPiecesAreThoseOfOnePiece) {
  ExpectPiecesToMakeNoDifference(TestOptions(DemoModel()), 1e-3f);
}

TEST(CudaRanksTest, BFloat16ScoresInPiecesAreThoseOfOnePiece) {
  ExpectPiecesToMakeNoDifference(LargerModel(), 0.05f);
}

}  // namespace
}  // namespace drover
