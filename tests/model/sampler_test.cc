#include "model/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/distribution.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::FloatNear;
using ::testing::IsEmpty;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kLargest = std::numeric_limits<float>::max();

struct Situation {
  SamplingParams params;
  std::vector<int32_t> eos_ids;
  std::vector<int32_t> observed;
  int32_t num_generated = 0;
};

SequenceSampler::Choice SampleOnce(const Situation& s,
                                   std::vector<float> logits) {
  SequenceSampler sampler(s.params, s.eos_ids,
                          static_cast<int32_t>(logits.size()));
  sampler.Observe(s.observed);
  return sampler.Sample(absl::MakeSpan(logits), s.num_generated);
}

std::vector<float> Logs(const std::vector<double>& weights) {
  std::vector<float> logs;
  for (const double weight : weights) {
    logs.push_back(static_cast<float>(std::log(weight)));
  }
  return logs;
}

auto IsToken(int32_t id, double probability) {
  return AllOf(
      Field(&TopToken::id, id),
      Field(&TopToken::logprob,
            FloatNear(static_cast<float>(std::log(probability)), 1e-5f)));
}

TEST(SamplerTest, GreedyTakesTheLowestIdOfTheBest) {
  EXPECT_EQ(SampleOnce({}, {1, 3, 2, 3}).token.id, 1);
  EXPECT_EQ(SampleOnce({}, {-kInfinity, -5, -4}).token.id, 2);
}

TEST(SamplerTest, GreedyIgnoresTemperatureAndFilters) {
  const Situation s = {.params = {.temperature = 50.0f,
                                  .top_k = 1,
                                  .top_p = 0.1f,
                                  .typical_p = 0.1f,
                                  .token_scores = true}};
  const TokenScore token = SampleOnce(s, Logs({.2, .5, .3})).token;
  EXPECT_EQ(token.id, 1);
  EXPECT_NEAR(token.logprob, std::log(.5), 1e-6);
}

TEST(SamplerTest, RefusesLogitsThatAreNotFinite) {
  for (const bool greedy : {true, false}) {
    const Situation s = {.params = {.greedy = greedy}};
    for (const std::vector<float>& logits :
         {std::vector<float>{1, kNan, 2}, std::vector<float>{1, kInfinity, 2},
          std::vector<float>{-kInfinity, -kInfinity},
          std::vector<float>{kNan}}) {
      EXPECT_EQ(SampleOnce(s, logits).status, SequenceStatus::kNonFiniteLogits);
    }
    EXPECT_EQ(SampleOnce(s, {-kInfinity, 0.0f}).status, SequenceStatus::kOk);
  }
}

TEST(SamplerTest, RefusesWhenEveryTokenIsBanned) {
  for (const bool greedy : {true, false}) {
    const Situation s = {
        .params = {.greedy = greedy, .top_k = 1, .min_new_tokens = 1},
        .eos_ids = {0}};
    EXPECT_EQ(SampleOnce(s, {1.0f, -kInfinity}).status,
              SequenceStatus::kNonFiniteLogits);
  }
}

TEST(SamplerTest, BansEveryEosIdUntilEnoughTokensAreThere) {
  Situation s = {.params = {.min_new_tokens = 3}, .eos_ids = {1, 3}};
  const std::vector<float> logits = {1, 5, 2, 4};
  s.num_generated = 2;
  EXPECT_EQ(SampleOnce(s, logits).token.id, 2);
  s.num_generated = 3;
  EXPECT_EQ(SampleOnce(s, logits).token.id, 1);
}

// The processed EOS logit, read back as a difference of log-probabilities to a
// token whose logit is 0.
double PenalizedEos(const Situation& s, float eos_logit) {
  Situation scored = s;
  scored.params.top_n = 2;
  scored.eos_ids = {1};
  const std::vector<TopToken> top =
      SampleOnce(scored, {0.0f, eos_logit}).token.top;
  const bool eos_first = top[0].id == 1;
  return (eos_first ? 1 : -1) * double{top[0].logprob - top[1].logprob};
}

TEST(SamplerTest, LengthPenaltyGrowsFromItsStart) {
  Situation s;
  s.params.length_penalty = {.start_index = 2, .decay_factor = 1.5f};
  s.num_generated = 2;  // not above the start
  EXPECT_NEAR(PenalizedEos(s, -2.0f), -2.0, 1e-5);
  s.num_generated = 3;  // -2 + 2 * 0.5
  EXPECT_NEAR(PenalizedEos(s, -2.0f), -1.0, 1e-5);
  s.num_generated = 4;  // 2 + 2 * 1.25
  EXPECT_NEAR(PenalizedEos(s, 2.0f), 4.5, 1e-5);
  s.params.min_new_tokens = 5;  // the ban comes first
  EXPECT_THAT(SampleOnce({s.params, {1}, {}, 4}, {0.0f, 2.0f}).token.id, 0);
}

TEST(SamplerTest, LengthPenaltyStaysFinite) {
  Situation s = {.params = {.token_scores = true}, .eos_ids = {1, 2, 3}};
  s.params.length_penalty = {.start_index = 0, .decay_factor = 10.0f};
  s.num_generated = 1000;
  const auto choice = SampleOnce(s, {5.0f, 1.0f, 0.0f, -kInfinity});
  EXPECT_EQ(choice.status, SequenceStatus::kOk);
  EXPECT_EQ(choice.token.id, 1);
  EXPECT_EQ(choice.token.logprob, 0.0f);
}

TEST(SamplerTest, RepetitionPenaltyLowersEachSeenIdOnce) {
  Situation s = {.params = {.repetition_penalty = 2.0f, .top_n = 4},
                 .observed = {0, 1, 0, 0}};
  // 4 / 2 and -1 * 2; the others as they are.
  const std::vector<float> expected = {2.0f, -2.0f, 3.0f, 1.0f};
  double sum = 0.0;
  for (const float logit : expected) sum += std::exp(double{logit});
  const auto p = [&](int id) { return std::exp(double{expected[id]}) / sum; };
  EXPECT_THAT(SampleOnce(s, {4.0f, -1.0f, 3.0f, 1.0f}).token.top,
              ElementsAre(IsToken(2, p(2)), IsToken(0, p(0)), IsToken(3, p(3)),
                          IsToken(1, p(1))));
}

TEST(SamplerTest, RepetitionPenaltyStaysFiniteAndKeepsBans) {
  const Situation s = {.params = {.repetition_penalty = 1e-30f},
                       .observed = {0, 1}};
  const auto choice = SampleOnce(s, {kLargest, -kInfinity, 1.0f});
  EXPECT_EQ(choice.status, SequenceStatus::kOk);
  EXPECT_EQ(choice.token.id, 0);
}

// Length penalty before repetition penalty: (1 + 1 * 1) / 4.
TEST(SamplerTest, EosIsPenalizedByLengthBeforeRepetition) {
  Situation s = {.params = {.repetition_penalty = 4.0f}, .observed = {1}};
  s.params.length_penalty = {.start_index = 0, .decay_factor = 2.0f};
  s.num_generated = 1;
  EXPECT_NEAR(PenalizedEos(s, 1.0f), 0.5, 1e-5);
}

TEST(SamplerTest, ScoresComeFromTheDistributionThatIsSampled) {
  // Temperature 1/2 squares the weights 1 2 3 4; top_k leaves 9 and 16.
  const Situation s = {.params = {.greedy = false,
                                  .temperature = 0.5f,
                                  .top_k = 2,
                                  .seed = 1,
                                  .token_scores = true,
                                  .top_n = 3}};
  const TokenScore token = SampleOnce(s, Logs({1, 2, 3, 4})).token;
  EXPECT_THAT(token.top, ElementsAre(IsToken(3, .64), IsToken(2, .36)));
  EXPECT_EQ(token.rank, token.id == 3 ? 1 : 2);
  EXPECT_NEAR(std::exp(token.logprob), token.id == 3 ? .64 : .36, 1e-5);
}

TEST(SamplerTest, ASingleSurvivorHasPositiveZeroLogprob) {
  const Situation s = {.params = {.greedy = false, .top_k = 1, .top_n = 5}};
  const TokenScore token = SampleOnce(s, {-3.5f, 1.25f, 0.5f}).token;
  EXPECT_EQ(token.id, 1);
  EXPECT_EQ(token.rank, 1);
  EXPECT_EQ(token.logprob, 0.0f);
  EXPECT_FALSE(std::signbit(token.logprob));
  EXPECT_THAT(token.top, ElementsAre(IsToken(1, 1.0)));
}

TEST(SamplerTest, NothingIsScoredUnlessAsked) {
  const TokenScore token = SampleOnce({}, {1, 3, 2}).token;
  EXPECT_EQ(token, (TokenScore{.id = 1}));
}

TEST(SamplerTest, FiltersApplyInTheirOrder) {
  // top_k leaves .4 .3 .2 of .9, that is .44 .33 .22, and top_p the first two
  // of these. Of the whole it would have kept three: .4 + .3 < .75.
  const Situation s = {
      .params = {.greedy = false, .top_k = 3, .top_p = 0.75f, .top_n = 10}};
  EXPECT_THAT(SampleOnce(s, Logs({.1, .4, .2, .3})).token.top,
              ElementsAre(IsToken(1, 4.0 / 7), IsToken(3, 3.0 / 7)));
}

TEST(SamplerTest, TypicalDropsTheBestIfItIsTooPredictable) {
  const Situation s = {
      .params = {.greedy = false, .typical_p = 0.2f, .top_n = 4}};
  EXPECT_THAT(SampleOnce(s, Logs({.5, .25, .125, .125})).token.top,
              ElementsAre(IsToken(1, 1.0)));
}

TEST(SamplerTest, TheSameSeedAndNumberDrawTheSameToken) {
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(i % 7);
  }
  Situation s = {.params = {.greedy = false, .seed = 42}};
  std::vector<int32_t> forward;
  for (s.num_generated = 0; s.num_generated < 20; ++s.num_generated) {
    forward.push_back(SampleOnce(s, logits).token.id);
  }
  for (s.num_generated = 19; s.num_generated >= 0; --s.num_generated) {
    EXPECT_EQ(SampleOnce(s, logits).token.id, forward[s.num_generated]);
  }
  s.params.seed = 43;
  std::vector<int32_t> other;
  for (s.num_generated = 0; s.num_generated < 20; ++s.num_generated) {
    other.push_back(SampleOnce(s, logits).token.id);
  }
  EXPECT_NE(other, forward);
}

// A filter that keeps the drawn token does not change the draw.
TEST(SamplerTest, FiltersDoNotDisturbTheDraw) {
  std::vector<float> logits(500);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = std::sin(static_cast<float>(i)) * 3;
  }
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const int32_t plain =
        SampleOnce({.params = {.greedy = false, .seed = seed}}, logits)
            .token.id;
    const int32_t filtered =
        SampleOnce({.params = {.greedy = false, .top_k = 499, .seed = seed}},
                   logits)
            .token.id;
    EXPECT_EQ(plain, filtered) << seed;
  }
}

// Chi-square over 40000 draws with fixed seeds. Five degrees of freedom: a fair
// sampler exceeds 25.7 once in ten thousand choices of seeds.
TEST(SamplerTest, DrawsFollowTheDistribution) {
  const std::vector<double> weights = {.4, .25, .2, .1, .04, .01};
  const std::vector<float> logits = Logs(weights);
  std::array<int, 6> counts = {};
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) {
    // As many seeds as tokens per seed, so that both are mixed well.
    const Situation s = {
        .params = {.greedy = false, .seed = static_cast<uint64_t>(i / 200)},
        .num_generated = i % 200};
    ++counts[SampleOnce(s, logits).token.id];
  }
  double chi_square = 0.0;
  for (size_t id = 0; id < weights.size(); ++id) {
    const double expected = weights[id] * kDraws;
    chi_square += std::pow(counts[id] - expected, 2) / expected;
  }
  EXPECT_LT(chi_square, 25.7);
}

TEST(ScoreTokenTest, ReportsLogprobRankAndTop) {
  const std::vector<float> logits = Logs({.1, .4, .2, .3});
  const TokenScore score = ScoreToken(logits, 2, 2);
  EXPECT_EQ(score.id, 2);
  EXPECT_NEAR(score.logprob, std::log(.2), 1e-6);
  EXPECT_EQ(score.rank, 3);
  EXPECT_THAT(score.top, ElementsAre(IsToken(1, .4), IsToken(3, .3)));
  EXPECT_THAT(ScoreToken(logits, 2, 0).top, IsEmpty());
}

TEST(ScoreTokenTest, TiesShareTheBestRank) {
  const std::vector<float> logits = {2, 1, 1, 0, 2};
  EXPECT_EQ(ScoreToken(logits, 0, 0).rank, 1);
  EXPECT_EQ(ScoreToken(logits, 4, 0).rank, 1);
  EXPECT_EQ(ScoreToken(logits, 1, 0).rank, 3);
  EXPECT_EQ(ScoreToken(logits, 3, 0).rank, 5);
}

std::vector<int32_t> TopIds(const std::vector<float>& logits, int32_t top_n) {
  std::vector<int32_t> ids;
  for (const TopToken& token : ScoreToken(logits, 0, top_n).top) {
    ids.push_back(token.id);
  }
  return ids;
}

TEST(ScoreTokenTest, TopHoldsAllTiesUpToFourTimesItsNumber) {
  EXPECT_THAT(TopIds({1, 2, 3, 2, 0}, 2), ElementsAre(2, 1, 3));
  EXPECT_THAT(TopIds({1, 1, 1, 1, 1, 1}, 1), ElementsAre(0, 1, 2, 3));
  // The best is never cut off for the sake of ties below it.
  EXPECT_THAT(TopIds({1, 1, 1, 1, 1, 1, 1, 1, 1, 5}, 2),
              ElementsAre(9, 0, 1, 2, 3, 4, 5, 6));
}

TEST(ScoreTokenTest, TopLeavesOutTheImpossible) {
  EXPECT_THAT(TopIds({-1, -kInfinity, -2}, 5), ElementsAre(0, 2));
}

// Log-sum-exp over a vocabulary of a real size, against double.
TEST(ScoreTokenTest, IsPreciseOnALargeVocabulary) {
  std::vector<float> logits(128256);
  double sum = 0.0;
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = 10.0f * std::sin(static_cast<float>(i) * 0.37f);
    sum += std::exp(double{logits[i]});
  }
  EXPECT_NEAR(ScoreToken(logits, 77, 0).logprob, logits[77] - std::log(sum),
              2e-6);
}

TEST(DistributionTest, DrawDoesNotDependOnTheOrderOfTheIds) {
  std::vector<int32_t> ids;
  std::vector<float> scores;
  for (int32_t i = 0; i < 300; ++i) {
    ids.push_back(i * 5);
    scores.push_back(static_cast<float>(i % 11));
  }
  std::vector<int32_t> reversed_ids(ids.rbegin(), ids.rend());
  std::vector<float> reversed_scores(scores.rbegin(), scores.rend());
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const TokenDraw draw(seed, 9);
    EXPECT_EQ(
        ids[DrawPosition({scores, ids}, draw)],
        reversed_ids[DrawPosition({reversed_scores, reversed_ids}, draw)]);
  }
}

TEST(DistributionTest, TheHurdlesNeverChangeTheDraw) {
  std::vector<float> scores(2000);
  for (size_t i = 0; i < scores.size(); ++i) {
    scores[i] = 15.0f * std::sin(static_cast<float>(i));
  }
  for (uint64_t seed = 0; seed < 100; ++seed) {
    TokenDraw draw(seed, 0);
    size_t best = 0;
    double best_value = -kInfinity;
    for (size_t i = 0; i < scores.size(); ++i) {
      const double value = scores[i] + TokenDraw::NegativeLogExponential(
                                           draw.Bits(static_cast<int32_t>(i)));
      if (value > best_value) {
        best_value = value;
        best = i;
      }
    }
    EXPECT_EQ(DrawPosition({.scores = scores}, TokenDraw(seed, 0)),
              static_cast<int32_t>(best));
  }
}

}  // namespace
}  // namespace drover
