// A prefix whose rows are the embeddings of some tokens is those tokens: the
// same continuation and scores come out, bit for bit where the steps have the
// same shape, and however the work is cut.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/prompt_prefix_reader.h"
#include "model/weight_files.h"
#include "tests/model/executor_harness.h"
#include "tests/model/safetensors_builder.h"

namespace drover {
namespace {

constexpr float kTolerance = 1e-4f;  // of logits, in float32
constexpr int32_t kNumPrefix = 21;   // ends inside a block
constexpr int32_t kNumIds = 50;      // prefix included
constexpr int32_t kNumGenerated = 8;

std::string_view FileName(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "F32";
    case DType::kFloat16:
      return "F16";
    case DType::kBFloat16:
      return "BF16";
  }
  return "";
}

// The rows that a model embeds `ids` as.
SharedPrefix EmbeddingsOf(const std::vector<int32_t>& ids,
                          const std::string& model_dir, DType dtype) {
  const auto files = ExecutorHarness::ValueOrDie(WeightFiles::Open(model_dir));
  const TensorView table =
      ExecutorHarness::ValueOrDie(files.Get("model.embed_tokens.weight"));
  const int64_t hidden_size = table.shape[1];
  const auto row_bytes =
      static_cast<size_t>(hidden_size * DTypeBytes(table.dtype));
  std::string rows;
  for (const int32_t id : ids) {
    rows.append(reinterpret_cast<const char*>(table.bytes.data()) +
                    static_cast<size_t>(id) * row_bytes,
                row_bytes);
  }
  const std::string saved = SafetensorsBytes(
      R"({"prompt_embeddings": {"dtype": ")" +
          std::string(FileName(table.dtype)) + R"(", "shape": [)" +
          std::to_string(ids.size()) + ", " + std::to_string(hidden_size) +
          R"(], "data_offsets": [0, )" + std::to_string(rows.size()) + "]}}",
      rows);
  return std::make_shared<PromptPrefix>(
      ExecutorHarness::ValueOrDie(ReadPromptPrefix(
          "test",
          absl::MakeSpan(reinterpret_cast<const std::byte*>(saved.data()),
                         saved.size()),
          {.hidden_size = hidden_size, .max_tokens = 512, .dtype = dtype})));
}

// What a sequence was answered.
struct Answers {
  std::vector<TokenScore> prompt_scores;  // of positions 1, 2, ...
  std::vector<TokenScore> tokens;
};

class Runner : public ExecutorHarness {
 public:
  using ExecutorHarness::ExecutorHarness;

  // Adds a sequence whose first chunk has `num_tokens` to `plan`.
  void Add(BatchPlan& plan, int32_t slot, const SharedPrefix& prefix,
           SequenceAdmission admission, int32_t num_tokens) {
    if (prefix != nullptr) {
      admission.prefix = ++handle_;
      plan.prefix_loads.push_back({.handle = handle_, .prefix = prefix});
    }
    admission.slot = {.slot = slot, .generation = ++generation_};
    const auto num_ids = static_cast<int32_t>(admission.token_ids.size()) +
                         (prefix != nullptr ? prefix->num_tokens : 0);
    plan.work.push_back({.slot = slot,
                         .num_tokens = num_tokens,
                         .new_blocks = NewBlocks(num_ids + kNumGenerated),
                         .sample = num_tokens == num_ids});
    live_.push_back(admission.slot);
    plan.admissions.push_back(std::move(admission));
  }

  // Alone, in chunks of `chunk` tokens.
  Answers Generate(const SharedPrefix& prefix, std::vector<int32_t> ids,
                   const SamplingParams& sampling, int32_t num_generated = 0,
                   int32_t chunk = 512) {
    Reset();
    const auto total = static_cast<int32_t>(ids.size()) +
                       (prefix != nullptr ? prefix->num_tokens : 0);
    BatchPlan plan;
    Add(plan, 2, prefix,
        {.token_ids = std::move(ids),
         .num_generated = num_generated,
         .sampling = sampling},
        std::min(chunk, total));
    Answers answers;
    Collect(Run(std::move(plan)), answers);
    for (int32_t begin = chunk; begin < total; begin += chunk) {
      const int32_t num_tokens = std::min(chunk, total - begin);
      BatchPlan next;
      next.work.push_back({.slot = 2,
                           .num_tokens = num_tokens,
                           .sample = begin + num_tokens == total});
      Collect(Run(std::move(next)), answers);
    }
    for (int32_t i = num_generated + 1; i < kNumGenerated; ++i) {
      Collect(Run(BatchPlan()), answers);
    }
    return answers;
  }

  void Reset() {
    BatchPlan plan;
    plan.releases = std::exchange(live_, {});
    for (; first_handle_ <= handle_; ++first_handle_) {
      plan.prefix_drops.push_back(first_handle_);
    }
    Run(std::move(plan));
    ResetBlocks();
  }

  // Of the first sequence that is answered.
  static void Collect(const StepResult& result, Answers& answers) {
    if (result.sequences.empty()) return;
    const SequenceResult& sequence = result.sequences[0];
    answers.prompt_scores.insert(answers.prompt_scores.end(),
                                 sequence.prompt_scores.begin(),
                                 sequence.prompt_scores.end());
    answers.tokens.insert(answers.tokens.end(), sequence.tokens.begin(),
                          sequence.tokens.end());
  }

 private:
  std::vector<SlotRef> live_;
  uint32_t generation_ = 0;
  int64_t handle_ = 0;
  int64_t first_handle_ = 1;
};

void ExpectNear(const std::vector<TokenScore>& actual,
                const std::vector<TokenScore>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual[i].logprob, expected[i].logprob, kTolerance) << i;
    const std::vector<TopToken>& top = expected[i].top;
    if (top.size() < 2 || top[0].logprob - top[1].logprob < 10 * kTolerance) {
      return;  // another token could have been chosen
    }
    EXPECT_EQ(actual[i].id, expected[i].id) << i;
  }
}

SamplingParams AllScores() {
  SamplingParams sampling = GreedyWithScores(/*top_n=*/2);
  sampling.prompt_scores = true;
  sampling.prompt_top_n = 2;
  return sampling;
}

class PrefixEquivalenceTest : public testing::TestWithParam<std::string> {
 protected:
  std::string ModelDir() const {
    return GetParam() == "fables-7m" ? DemoModel() : FixtureModel(GetParam());
  }

  const std::vector<int32_t> ids_ = RandomIds(kNumIds, /*seed=*/11);
  const std::vector<int32_t> head_{ids_.begin(), ids_.begin() + kNumPrefix};
  const std::vector<int32_t> text_{ids_.begin() + kNumPrefix, ids_.end()};
  const SharedPrefix prefix_ = EmbeddingsOf(head_, ModelDir(), DType::kFloat32);
  Runner runner_{TestOptions(ModelDir())};
};

TEST_P(PrefixEquivalenceTest, EmbeddingsOfTokensAreTheseTokensBitForBit) {
  const Answers tokens = runner_.Generate(nullptr, ids_, AllScores());
  const Answers prefix = runner_.Generate(prefix_, text_, AllScores());
  EXPECT_EQ(prefix.tokens, tokens.tokens);
  ASSERT_EQ(prefix.prompt_scores.size(), tokens.prompt_scores.size());
  // The scores of what follows the prefix, its first token included.
  const auto border = kNumPrefix - 1;
  EXPECT_TRUE(std::equal(prefix.prompt_scores.begin() + border,
                         prefix.prompt_scores.end(),
                         tokens.prompt_scores.begin() + border));
  // Within it the pad token is scored, under the same predictions.
  for (int32_t i = 0; i < border; ++i) {
    const auto at = static_cast<size_t>(i);
    EXPECT_EQ(prefix.prompt_scores[at].id, prefix.prompt_scores[0].id);
    EXPECT_EQ(prefix.prompt_scores[at].top, tokens.prompt_scores[at].top);
  }
}

TEST_P(PrefixEquivalenceTest, OtherRowsGiveOtherScores) {
  PromptPrefix other = *prefix_;
  std::fill(other.rows.begin(), other.rows.end(), '\0');
  const Answers tokens = runner_.Generate(nullptr, ids_, AllScores());
  const Answers zeros = runner_.Generate(std::make_shared<PromptPrefix>(other),
                                         text_, AllScores());
  const size_t first = kNumPrefix - 1;  // of the text
  EXPECT_GT(std::abs(zeros.prompt_scores[first].logprob -
                     tokens.prompt_scores[first].logprob),
            100 * kTolerance);
}

TEST_P(PrefixEquivalenceTest, ChunksMayEndAnywhereInThePrefix) {
  const Answers whole = runner_.Generate(prefix_, text_, AllScores());
  for (const int32_t chunk : {1, 7, 16, kNumPrefix, kNumPrefix + 1, 49}) {
    SCOPED_TRACE(testing::Message() << "chunks of " << chunk);
    const Answers chunked =
        runner_.Generate(prefix_, text_, AllScores(), 0, chunk);
    ExpectNear(chunked.tokens, whole.tokens);
    ASSERT_EQ(chunked.prompt_scores.size(), whole.prompt_scores.size());
    for (size_t i = 0; i < whole.prompt_scores.size(); ++i) {
      EXPECT_NEAR(chunked.prompt_scores[i].logprob,
                  whole.prompt_scores[i].logprob, kTolerance);
    }
  }
}

TEST_P(PrefixEquivalenceTest, APreemptedSequenceGoesOnWithItsPrefix) {
  constexpr int32_t kBefore = 3;
  const SamplingParams sampling = GreedyWithScores(/*top_n=*/2);
  const Answers undisturbed = runner_.Generate(prefix_, text_, sampling);
  std::vector<int32_t> known = text_;
  for (int32_t i = 0; i < kBefore; ++i) {
    known.push_back(undisturbed.tokens[static_cast<size_t>(i)].id);
  }
  const Answers resumed = runner_.Generate(prefix_, known, sampling, kBefore);
  ExpectNear(resumed.tokens,
             {undisturbed.tokens.begin() + kBefore, undisturbed.tokens.end()});
}

TEST_P(PrefixEquivalenceTest, NeighboursDoNotNoticeAPrefix) {
  const SamplingParams sampling = GreedyWithScores(/*top_n=*/2);
  const std::vector<int32_t> other = RandomIds(33, /*seed=*/12);
  const Answers alone = runner_.Generate(nullptr, other, sampling);
  const Answers with_prefix = runner_.Generate(prefix_, text_, sampling);

  runner_.Reset();
  BatchPlan plan;
  runner_.Add(plan, 1, nullptr, {.token_ids = other, .sampling = sampling}, 33);
  for (const int32_t slot : {3, 6}) {  // one prefix, two who have it
    runner_.Add(plan, slot, prefix_, {.token_ids = text_, .sampling = sampling},
                kNumIds);
  }
  std::vector<Answers> batched(3);
  for (int32_t step = 0; step < kNumGenerated; ++step) {
    const StepResult result = runner_.Run(std::exchange(plan, {}));
    ASSERT_EQ(result.sequences.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      batched[i].tokens.push_back(result.sequences[i].tokens.at(0));
    }
  }
  ExpectNear(batched[0].tokens, alone.tokens);
  ExpectNear(batched[1].tokens, with_prefix.tokens);
  ExpectNear(batched[2].tokens, with_prefix.tokens);
}

// A penalty moves the scores of tokens that were there: no two others'.
TEST_P(PrefixEquivalenceTest, APrefixIsNoTokenToAPenalty) {
  const SamplingParams plain = GreedyWithScores(/*top_n=*/4096);  // all
  SamplingParams penalised = plain;
  penalised.repetition_penalty = 3.0f;
  const std::vector<int32_t> text = {300, 301};
  const auto by_id = [&](const SamplingParams& sampling) {
    const Answers answers = runner_.Generate(prefix_, text, sampling);
    std::map<int32_t, float> logprobs;
    for (const TopToken& top : answers.tokens[0].top) {
      logprobs[top.id] = top.logprob;
    }
    return logprobs;
  };
  const std::map<int32_t, float> before = by_id(plain);
  const std::map<int32_t, float> after = by_id(penalised);
  const float shift = after.at(0) - before.at(0);
  for (int32_t id = 0; id < 300; ++id) {
    EXPECT_NEAR(after.at(id) - before.at(id), shift, kTolerance) << id;
  }
  EXPECT_GT(std::abs(after.at(300) - before.at(300) - shift), kTolerance);
}

INSTANTIATE_TEST_SUITE_P(Models, PrefixEquivalenceTest,
                         testing::Values("llama3-gqa", "mistral-sliding",
                                         "qwen2-bias", "fables-7m"),
                         [](const testing::TestParamInfo<std::string>& info) {
                           return TestName(info.param);
                         });

TEST(PrefixInBFloat16Test, EmbeddingsOfTokensAreTheseTokensBitForBit) {
  if (!TestExecutorHasBFloat16()) GTEST_SKIP() << "no bfloat16 here";
  const std::vector<int32_t> ids = RandomIds(kNumIds, /*seed=*/13);
  const SharedPrefix prefix = EmbeddingsOf(
      {ids.begin(), ids.begin() + kNumPrefix}, DemoModel(), DType::kBFloat16);
  Runner runner(TestOptions(DemoModel(), DType::kBFloat16));
  const SamplingParams sampling = GreedyWithScores(/*top_n=*/2);
  const Answers tokens = runner.Generate(nullptr, ids, sampling);
  const Answers with_prefix =
      runner.Generate(prefix, {ids.begin() + kNumPrefix, ids.end()}, sampling);
  EXPECT_EQ(with_prefix.tokens, tokens.tokens);
}

}  // namespace
}  // namespace drover
