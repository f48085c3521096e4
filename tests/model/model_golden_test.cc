// The models' outputs against those of Hugging Face transformers in float32,
// teacher-forced: the reference's ids are fed, and what the model thinks of
// each is compared.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/model/executor_harness.h"

namespace drover {
namespace {

using nlohmann::json;

constexpr float kLogprobTolerance = 1e-3f;
constexpr float kMinMargin = 1e-3f;

struct GoldenCase {
  std::vector<int32_t> prompt_ids;
  std::vector<float> prompt_logprobs;  // of prompt tokens 1, 2, ...
  std::vector<float> last_logits;      // at the prompt's end; may be empty
  std::vector<int32_t> greedy_ids;
  std::vector<float> greedy_logprobs;
  std::vector<float> greedy_margin;  // best minus second-best logit
};

struct GoldenModel {
  std::string name;
  std::string dir;
  std::string golden_file;
};

void PrintTo(const GoldenModel& model, std::ostream* out) {
  *out << model.name;
}

std::vector<GoldenModel> GoldenModels() {
  std::vector<GoldenModel> models;
  for (const char* name :
       {"llama2-mha", "llama3-gqa", "llama31-ropescale", "mistral-sliding",
        "qwen2-bias",
        // What tests/testdata/make_hf_goldens.py makes.
        "llama-biases", "llama-head-dim", "llama-old-linear-f16",
        "llama-tied-shards", "llama-yarn", "llama-yarn-mscale",
        "qwen2-old-yarn"}) {
    models.push_back({name, FixtureModel(name), "golden.json"});
  }
  models.push_back({"fables-7m", DemoModel(), "golden_generation.json"});
  return models;
}

std::vector<GoldenCase> LoadCases(const GoldenModel& model) {
  std::ifstream file(model.dir + "/" + model.golden_file);
  std::vector<GoldenCase> cases;
  const json golden = json::parse(file);
  for (const json& entry : golden.at("cases")) {
    cases.push_back(
        {.prompt_ids = entry.at("prompt_ids"),
         .prompt_logprobs = entry.at("prompt_logprobs"),
         .last_logits = entry.value("last_logits", std::vector<float>()),
         .greedy_ids = entry.at("greedy_ids"),
         .greedy_logprobs = entry.at("greedy_logprobs"),
         .greedy_margin = entry.at("greedy_margin")});
  }
  return cases;
}

std::vector<float> LogSoftmax(const std::vector<float>& logits) {
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(double{logit});
  std::vector<float> result;
  for (const float logit : logits) {
    result.push_back(static_cast<float>(logit - std::log(sum)));
  }
  return result;
}

class GoldenTest : public testing::TestWithParam<GoldenModel> {
 protected:
  // The answer to a prefill of `ids`, of which the last `num_generated` came
  // from the model.
  SequenceResult Prefill(const std::vector<int32_t>& ids, int32_t num_generated,
                         const SamplingParams& sampling) {
    harness_.ResetBlocks();
    const auto num_tokens = static_cast<int32_t>(ids.size());
    BatchPlan plan;
    if (ref_.generation > 0) plan.releases.push_back(ref_);
    ++ref_.generation;
    plan.admissions.push_back({.slot = ref_,
                               .token_ids = ids,
                               .num_generated = num_generated,
                               .sampling = sampling});
    plan.work.push_back({.slot = ref_.slot,
                         .num_tokens = num_tokens,
                         .new_blocks = harness_.NewBlocks(num_tokens)});
    const StepResult result = harness_.Run(std::move(plan));
    EXPECT_EQ(result.sequences.size(), 1u);
    EXPECT_EQ(result.sequences.at(0).tokens.size(), 1u);
    return result.sequences.at(0);
  }

  // One decode after Prefill.
  TokenScore Decode() {
    BatchPlan plan;
    plan.work.push_back(
        {.slot = ref_.slot, .new_blocks = harness_.NewBlocks(1)});
    return harness_.Run(std::move(plan)).sequences.at(0).tokens.at(0);
  }

  ExecutorHarness harness_{TestOptions(GetParam().dir)};
  SlotRef ref_ = {.slot = 3, .generation = 0};
};

TEST_P(GoldenTest, PromptLogprobsAndLastLogitsAreTheReferences) {
  const auto config = LoadModelConfig(GetParam().dir);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto vocab_size = static_cast<int32_t>(config->vocab_size);
  for (const GoldenCase& golden : LoadCases(GetParam())) {
    SamplingParams sampling = GreedyWithScores(/*top_n=*/vocab_size);
    sampling.prompt_scores = true;
    const SequenceResult result = Prefill(golden.prompt_ids, 0, sampling);

    ASSERT_EQ(result.prompt_scores.size(), golden.prompt_logprobs.size());
    for (size_t i = 0; i < golden.prompt_logprobs.size(); ++i) {
      const TokenScore& score = result.prompt_scores[i];
      EXPECT_EQ(score.id, golden.prompt_ids[i + 1]);
      EXPECT_NEAR(score.logprob, golden.prompt_logprobs[i], kLogprobTolerance)
          << "prompt token " << i + 1;
    }
    if (golden.last_logits.empty()) continue;
    const std::vector<float> expected = LogSoftmax(golden.last_logits);
    const std::vector<TopToken>& top = result.tokens[0].top;
    ASSERT_EQ(top.size(), expected.size());
    for (const TopToken& token : top) {
      EXPECT_NEAR(token.logprob, expected[static_cast<size_t>(token.id)],
                  kLogprobTolerance)
          << "id " << token.id;
    }
  }
}

TEST_P(GoldenTest, EveryGeneratedTokenIsTheReferences) {
  for (const GoldenCase& golden : LoadCases(GetParam())) {
    std::vector<int32_t> ids = golden.prompt_ids;
    for (size_t i = 0; i < golden.greedy_ids.size(); ++i) {
      const SequenceResult result =
          Prefill(ids, static_cast<int32_t>(i), GreedyWithScores());
      const TokenScore& token = result.tokens[0];
      if (golden.greedy_margin[i] > kMinMargin) {
        EXPECT_EQ(token.id, golden.greedy_ids[i]) << "token " << i;
      }
      // Within the tolerance also if the two best have changed places.
      EXPECT_NEAR(token.logprob, golden.greedy_logprobs[i], kLogprobTolerance)
          << "token " << i;
      EXPECT_EQ(token.rank, 1);
      ids.push_back(golden.greedy_ids[i]);
    }
  }
}

TEST_P(GoldenTest, FreeRunningTextIsTheReferencesUpToTheFirstSmallMargin) {
  for (const GoldenCase& golden : LoadCases(GetParam())) {
    TokenScore token =
        Prefill(golden.prompt_ids, 0, GreedyWithScores()).tokens[0];
    for (size_t i = 0; i < golden.greedy_ids.size(); ++i) {
      if (golden.greedy_margin[i] <= kMinMargin) break;
      ASSERT_EQ(token.id, golden.greedy_ids[i]) << "token " << i;
      EXPECT_NEAR(token.logprob, golden.greedy_logprobs[i], kLogprobTolerance);
      token = Decode();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest, testing::ValuesIn(GoldenModels()),
                         [](const testing::TestParamInfo<GoldenModel>& info) {
                           return TestName(info.param.name);
                         });

}  // namespace
}  // namespace drover
