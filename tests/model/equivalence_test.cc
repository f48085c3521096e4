// The same tokens must come out however the work is cut: alone or batched,
// whole or in chunks, undisturbed or preempted, in lock step or one step
// ahead. Logits differ in their last bits with the shape of a step, so tokens
// are compared up to the first margin below the tolerance.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/model/executor_harness.h"

namespace drover {
namespace {

using testing::FloatNear;
using testing::Pointwise;

constexpr float kFloat32Tolerance = 1e-4f;
// What rounding weights, activations and KV to eight bits of mantissa does to
// the log-probabilities of the demo model. Measured once (Zen 4): 0.027 on
// average, 0.12 at most; the tolerances leave room for other CPUs.
constexpr float kBFloat16Tolerance = 0.25f;
constexpr float kBFloat16MeanTolerance = 0.04f;

constexpr int32_t kNumGenerated = 24;

SequenceAdmission Admission(SlotRef ref, std::vector<int32_t> ids,
                            SamplingParams sampling,
                            int32_t num_generated = 0) {
  return {.slot = ref,
          .token_ids = std::move(ids),
          .num_generated = num_generated,
          .sampling = sampling};
}

// A sequence's tokens with their scores, in order.
using Tokens = std::vector<TokenScore>;

class Runner : public ExecutorHarness {
 public:
  using ExecutorHarness::ExecutorHarness;

  // Everything released, all blocks free.
  void Reset() {
    BatchPlan plan;
    plan.releases = std::exchange(live_, {});
    Run(std::move(plan));
    ResetBlocks();
  }

  // Adds to `plan` a sequence whose first chunk has `num_tokens`, with blocks
  // for its prompt and kNumGenerated more.
  SlotRef AddSequence(BatchPlan& plan, int32_t slot, std::vector<int32_t> ids,
                      const SamplingParams& sampling, int32_t num_tokens,
                      int32_t num_generated = 0) {
    const SlotRef ref = {.slot = slot, .generation = ++generation_};
    const auto num_ids = static_cast<int32_t>(ids.size());
    plan.admissions.push_back(
        Admission(ref, std::move(ids), sampling, num_generated));
    plan.work.push_back({.slot = slot,
                         .num_tokens = num_tokens,
                         .new_blocks = NewBlocks(num_ids + kNumGenerated),
                         .sample = num_tokens == num_ids});
    live_.push_back(ref);
    return ref;
  }

  // Generates alone.
  Tokens Generate(const std::vector<int32_t>& ids,
                  const SamplingParams& sampling,
                  int32_t num_generated_before = 0,
                  int32_t count = kNumGenerated) {
    Reset();
    BatchPlan plan;
    AddSequence(plan, 2, ids, sampling, static_cast<int32_t>(ids.size()),
                num_generated_before);
    Tokens tokens = {Run(std::move(plan)).sequences.at(0).tokens.at(0)};
    while (static_cast<int32_t>(tokens.size()) < count) {
      tokens.push_back(Run(BatchPlan()).sequences.at(0).tokens.at(0));
    }
    return tokens;
  }

  // The log-probabilities of ids 1, 2, ... and of the greedy token after the
  // last, computed in chunks of `chunk` tokens.
  std::vector<float> Score(const std::vector<int32_t>& ids, int32_t chunk) {
    Reset();
    const auto num_ids = static_cast<int32_t>(ids.size());
    SamplingParams sampling = GreedyWithScores();
    sampling.prompt_scores = true;
    std::vector<float> scores;
    for (int32_t begin = 0; begin < num_ids; begin += chunk) {
      const int32_t num_tokens = std::min(chunk, num_ids - begin);
      BatchPlan plan;
      if (begin == 0) {
        AddSequence(plan, 5, ids, sampling, num_tokens);
      } else {
        plan.work.push_back({.slot = 5,
                             .num_tokens = num_tokens,
                             .sample = begin + num_tokens == num_ids});
      }
      const StepResult result = Run(std::move(plan));
      if (result.sequences.empty()) continue;
      for (const TokenScore& score : result.sequences[0].prompt_scores) {
        scores.push_back(score.logprob);
      }
      for (const TokenScore& token : result.sequences[0].tokens) {
        scores.push_back(token.logprob);
      }
    }
    return scores;
  }

 private:
  std::vector<SlotRef> live_;
  uint32_t generation_ = 0;
};

// Compares up to the first token that another one could have beaten; returns
// how many were compared.
int ExpectSameTokens(const Tokens& actual, const Tokens& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  int num_compared = 0;
  for (size_t i = 0; i < expected.size() && i < actual.size(); ++i) {
    const std::vector<TopToken>& top = expected[i].top;
    if (top.at(0).logprob - top.at(1).logprob < 10 * kFloat32Tolerance) break;
    EXPECT_EQ(actual[i].id, expected[i].id) << "token " << i;
    EXPECT_NEAR(actual[i].logprob, expected[i].logprob, kFloat32Tolerance)
        << "token " << i;
    ++num_compared;
  }
  return num_compared;
}

std::vector<int32_t> WithTokens(std::vector<int32_t> ids, const Tokens& tokens,
                                size_t count) {
  for (size_t i = 0; i < count; ++i) ids.push_back(tokens[i].id);
  return ids;
}

class EquivalenceTest : public testing::TestWithParam<std::string> {
 protected:
  static std::string ModelDir() {
    return GetParam() == "fables-7m" ? DemoModel() : FixtureModel(GetParam());
  }

  // As far as the model's vocabulary goes.
  static std::vector<int32_t> Ids(int32_t count, uint32_t seed) {
    const auto config =
        ExecutorHarness::ValueOrDie(LoadModelConfig(ModelDir()));
    return RandomIds(count, seed,
                     std::min(320u, static_cast<uint32_t>(config.vocab_size)));
  }

  Runner runner_{TestOptions(ModelDir())};
  const SamplingParams greedy_ = GreedyWithScores(/*top_n=*/2);
};

TEST_P(EquivalenceTest, ChunkedPrefillScoresLikeOneChunk) {
  const std::vector<int32_t> ids = Ids(150, /*seed=*/1);
  const std::vector<float> whole = runner_.Score(ids, 150);
  ASSERT_EQ(whole.size(), ids.size());
  // Chunks within a block, of exactly a block, across blocks, and (with the
  // sliding window of 48) across the window's edge.
  for (const int32_t chunk : {1, 7, 16, 33, 50, 149}) {
    EXPECT_THAT(runner_.Score(ids, chunk),
                Pointwise(FloatNear(kFloat32Tolerance), whole))
        << "chunks of " << chunk;
  }
}

// Who wants no scores of the prompt needs its last row only, and nothing of a
// chunk that is not the last but its keys and values.
TEST_P(EquivalenceTest, TheFirstTokenDoesNotNoticeWhetherThePromptIsScored) {
  constexpr int32_t kLength = 100;
  const std::vector<int32_t> ids = Ids(kLength, /*seed=*/9);
  const float scored = runner_.Score(ids, kLength).back();
  EXPECT_NEAR(runner_.Generate(ids, greedy_, 0, /*count=*/1).at(0).logprob,
              scored, kFloat32Tolerance);

  constexpr int32_t kChunk = 40;
  runner_.Reset();
  BatchPlan plan;
  runner_.AddSequence(plan, 3, ids, greedy_, kChunk);
  EXPECT_THAT(runner_.Run(std::move(plan)).sequences, testing::IsEmpty());
  for (int32_t begin = kChunk; begin < kLength; begin += kChunk) {
    const int32_t num_tokens = std::min(kChunk, kLength - begin);
    const bool is_last = begin + num_tokens == kLength;
    BatchPlan chunk;
    chunk.work.push_back(
        {.slot = 3, .num_tokens = num_tokens, .sample = is_last});
    const StepResult result = runner_.Run(std::move(chunk));
    if (!is_last) continue;
    EXPECT_NEAR(result.sequences.at(0).tokens.at(0).logprob, scored,
                kFloat32Tolerance);
  }
}

TEST_P(EquivalenceTest, ASequenceDoesNotNoticeItsBatch) {
  constexpr int32_t kLengths[] = {1, 5, 16, 17, 60, 100};
  std::vector<Tokens> alone;
  for (const int32_t length : kLengths) {
    alone.push_back(runner_.Generate(Ids(length, 7u + length), greedy_));
  }

  runner_.Reset();
  BatchPlan plan;
  std::vector<Tokens> batched(std::size(kLengths));
  for (size_t i = 0; i < std::size(kLengths); ++i) {
    // Slots with gaps between them.
    runner_.AddSequence(plan, static_cast<int32_t>(2 * i + 1),
                        Ids(kLengths[i], 7u + kLengths[i]), greedy_,
                        kLengths[i]);
  }
  for (int32_t step = 0; step < kNumGenerated; ++step) {
    const StepResult result = runner_.Run(std::exchange(plan, {}));
    ASSERT_EQ(result.sequences.size(), std::size(kLengths));
    for (size_t i = 0; i < std::size(kLengths); ++i) {
      EXPECT_EQ(result.sequences[i].slot.slot, static_cast<int32_t>(2 * i + 1));
      batched[i].push_back(result.sequences[i].tokens.at(0));
    }
  }
  int num_compared = 0;
  for (size_t i = 0; i < std::size(kLengths); ++i) {
    num_compared += ExpectSameTokens(batched[i], alone[i]);
  }
  EXPECT_GT(num_compared, 3 * kNumGenerated);
}

TEST_P(EquivalenceTest, DecodesDoNotNoticeAPrefillInTheirStep) {
  const std::vector<int32_t> ids = Ids(40, /*seed=*/3);
  const std::vector<int32_t> other = Ids(120, /*seed=*/4);
  const Tokens alone = runner_.Generate(ids, greedy_);

  runner_.Reset();
  BatchPlan plan;
  runner_.AddSequence(plan, 4, ids, greedy_, 40);
  Tokens mixed = {runner_.Run(std::move(plan)).sequences.at(0).tokens.at(0)};
  for (int32_t begin = 0; begin < 120; begin += 30) {
    BatchPlan chunk;
    if (begin == 0) {
      runner_.AddSequence(chunk, 0, other, greedy_, 30);
    } else {
      chunk.work.push_back(
          {.slot = 0, .num_tokens = 30, .sample = begin == 90});
    }
    const StepResult result = runner_.Run(std::move(chunk));
    EXPECT_EQ(result.sequences.back().slot.slot, 4);
    mixed.push_back(result.sequences.back().tokens.at(0));
  }
  while (mixed.size() < alone.size()) {
    mixed.push_back(runner_.Run(BatchPlan()).sequences.at(1).tokens.at(0));
  }
  EXPECT_GT(ExpectSameTokens(mixed, alone), 4);
}

TEST_P(EquivalenceTest, ADecodeDoesNotNoticeAChunkOfOneTokenBeforeIt) {
  const std::vector<int32_t> ids = Ids(40, /*seed=*/3);
  const Tokens alone = runner_.Generate(ids, greedy_, 0, /*count=*/2);

  runner_.Reset();
  BatchPlan plan;
  runner_.AddSequence(plan, 4, ids, greedy_, 40);
  runner_.Run(std::move(plan));
  BatchPlan chunk;
  runner_.AddSequence(chunk, 0, Ids(20, /*seed=*/4), greedy_, 1);
  const StepResult result = runner_.Run(std::move(chunk));
  ASSERT_EQ(result.sequences.size(), 1u);
  EXPECT_EQ(result.sequences[0].slot.slot, 4);
  EXPECT_NEAR(result.sequences[0].tokens.at(0).logprob, alone[1].logprob,
              kFloat32Tolerance);
}

TEST_P(EquivalenceTest, APreemptedSequenceGoesOnAsIfUndisturbed) {
  constexpr int32_t kBefore = 9;
  const std::vector<int32_t> ids = Ids(50, /*seed=*/5);
  const Tokens undisturbed = runner_.Generate(ids, greedy_);
  const Tokens resumed =
      runner_.Generate(WithTokens(ids, undisturbed, kBefore), greedy_, kBefore,
                       kNumGenerated - kBefore);
  EXPECT_GT(ExpectSameTokens(resumed, Tokens(undisturbed.begin() + kBefore,
                                             undisturbed.end())),
            4);
}

TEST_P(EquivalenceTest, APreemptedDrawIsTheSameDraw) {
  constexpr int32_t kBefore = 9;
  const SamplingParams sampling = {.greedy = false,
                                   .temperature = 0.8f,
                                   .top_k = 40,
                                   .top_p = 0.9f,
                                   .repetition_penalty = 1.2f,
                                   .seed = 1234};
  const std::vector<int32_t> ids = Ids(50, /*seed=*/6);
  const Tokens undisturbed = runner_.Generate(ids, sampling);
  const Tokens resumed =
      runner_.Generate(WithTokens(ids, undisturbed, kBefore), sampling, kBefore,
                       kNumGenerated - kBefore);
  for (size_t i = 0; i < resumed.size(); ++i) {
    EXPECT_EQ(resumed[i].id, undisturbed[i + kBefore].id) << "token " << i;
  }
}

TEST_P(EquivalenceTest, OneStepAheadIsLockStepBitForBit) {
  const std::vector<int32_t> ids = Ids(30, /*seed=*/8);
  const Tokens lock_step = runner_.Generate(ids, greedy_);

  runner_.Reset();
  BatchPlan plan;
  runner_.AddSequence(plan, 2, ids, greedy_, 30);
  runner_.Submit(std::move(plan));
  Tokens ahead;
  for (int32_t i = 1; i < kNumGenerated; ++i) {
    runner_.Submit(BatchPlan());  // before the token it continues is known
    ahead.push_back(runner_.Await()->sequences.at(0).tokens.at(0));
  }
  ahead.push_back(runner_.Await()->sequences.at(0).tokens.at(0));
  EXPECT_EQ(ahead, lock_step);
}

INSTANTIATE_TEST_SUITE_P(Models, EquivalenceTest,
                         testing::Values("llama3-gqa", "llama-head-dim",
                                         "mistral-sliding", "qwen2-bias",
                                         "fables-7m"),
                         [](const testing::TestParamInfo<std::string>& info) {
                           return TestName(info.param);
                         });

TEST(RawLogprobsTest, AGeneratedTokenIsScoredAsInAPrompt) {
  const SamplingParams sampling = {.greedy = false,
                                   .temperature = 0.5f,
                                   .top_k = 3,
                                   .repetition_penalty = 1.7f,
                                   .seed = 11,
                                   .token_scores = true,
                                   .top_n = 5};
  const std::vector<int32_t> ids = RandomIds(40, /*seed=*/12);
  ModelExecutorOptions options = TestOptions(DemoModel());
  const Tokens processed = Runner(options).Generate(ids, sampling);
  options.raw_logprobs = true;
  Runner runner(options);
  const Tokens tokens = runner.Generate(ids, sampling);
  const std::vector<float> scores =
      runner.Score(WithTokens(ids, tokens, tokens.size()), /*chunk=*/512);
  for (size_t i = 0; i < tokens.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(tokens[i].id, processed[i].id) << "the choice is the same";
    EXPECT_NEAR(tokens[i].logprob, scores[ids.size() - 1 + i],
                kFloat32Tolerance);
    EXPECT_GE(tokens[i].top.size(), 5u) << "the filter left 3";
    EXPECT_LE(processed[i].top.size(), 3u);
  }
}

TEST(BFloat16Test, ScoresAreThoseOfFloat32WithinTheStatedTolerance) {
  if (!TestExecutorHasBFloat16()) GTEST_SKIP() << "no bfloat16 here";
  const std::vector<int32_t> ids = RandomIds(200, /*seed=*/9);
  const std::vector<float> exact =
      Runner(TestOptions(DemoModel())).Score(ids, 200);
  const std::vector<float> rounded =
      Runner(TestOptions(DemoModel(), DType::kBFloat16)).Score(ids, 200);
  EXPECT_THAT(rounded, Pointwise(FloatNear(kBFloat16Tolerance), exact));
  double sum = 0.0;
  for (size_t i = 0; i < exact.size(); ++i) {
    sum += std::abs(exact[i] - rounded[i]);
  }
  EXPECT_LT(sum / static_cast<double>(exact.size()), kBFloat16MeanTolerance);
}

}  // namespace
}  // namespace drover
