#include "model/warpers.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr float kBanned = -std::numeric_limits<float>::infinity();

std::vector<int32_t> SortedIds(const std::vector<Candidate>& candidates) {
  std::vector<int32_t> ids;
  for (const Candidate& c : candidates) ids.push_back(c.id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

// Candidate i with probability weights[i], up to a common factor.
std::vector<Candidate> Weighted(const std::vector<double>& weights) {
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < weights.size(); ++i) {
    candidates.push_back(
        {static_cast<int32_t>(i), static_cast<float>(std::log(weights[i]))});
  }
  return candidates;
}

std::vector<float> Scores(const std::vector<double>& weights) {
  std::vector<float> scores;
  for (const Candidate& c : Weighted(weights)) scores.push_back(c.score);
  return scores;
}

TEST(KeepTopKTest, KeepsTiesAtTheBoundaryAndDropsTheImpossible) {
  struct Case {
    std::string situation;
    std::vector<float> scores;
    int32_t k;
    std::vector<int32_t> kept;
  };
  const std::vector<Case> cases = {
      {"one", {1, 3, 2}, 1, {1}},
      {"two", {1, 3, 2}, 2, {1, 2}},
      {"tie at the boundary", {2, 3, 2, 1, 2}, 2, {0, 1, 2, 4}},
      {"tie above the boundary", {3, 3, 2, 1}, 2, {0, 1}},
      {"k beyond the vocabulary", {1, 3, 2}, 4, {0, 1, 2}},
      {"k of the vocabulary", {1, 3, 2}, 3, {0, 1, 2}},
      {"k beyond what is possible", {kBanned, 3, kBanned, 2}, 3, {1, 3}},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(SortedIds(KeepTopK(c.scores, c.k)), c.kept) << c.situation;
  }
}

TEST(KeepTopKTest, KeepsNothingOfNothingPossible) {
  EXPECT_THAT(KeepTopK({kBanned, kBanned}, 1), IsEmpty());
}

TEST(KeepTopKTest, AgreesWithSortingOnALargeVocabulary) {
  std::mt19937 generator(3);
  std::uniform_int_distribution<int> value(0, 500);  // many ties
  std::vector<float> scores(20000);
  for (float& score : scores) score = static_cast<float>(value(generator));
  std::vector<float> sorted = scores;
  std::sort(sorted.rbegin(), sorted.rend());
  for (const int32_t k : {1, 50, 700, 19999, 20000}) {
    std::vector<int32_t> expected;
    for (size_t i = 0; i < scores.size(); ++i) {
      if (scores[i] >= sorted[k - 1]) {
        expected.push_back(static_cast<int32_t>(i));
      }
    }
    EXPECT_EQ(SortedIds(KeepTopK(scores, k)), expected) << k;
  }
}

TEST(KeepTopPTest, KeepsTheTokenThatCrossesTheMass) {
  struct Case {
    std::string situation;
    std::vector<double> weights;
    float top_p;
    std::vector<int32_t> kept;
  };
  const std::vector<Case> cases = {
      // Ascending cumulative masses .1 .3 .6 1; those up to 1 - top_p go.
      {"mass inside the second", {.3, .1, .4, .2}, .6f, {0, 2}},
      {"mass inside the third", {.3, .1, .4, .2}, .8f, {0, 2, 3}},
      {"mass inside the first", {.3, .1, .4, .2}, .3f, {2}},
      {"almost nothing still keeps the best", {.3, .1, .4, .2}, 1e-6f, {2}},
      {"almost all", {.3, .1, .4, .2}, .95f, {0, 1, 2, 3}},
      {"of equals the lowest ids", {.25, .25, .25, .25}, .6f, {0, 1, 2}},
      {"one candidate", {1}, .5f, {0}},
  };
  for (const Case& c : cases) {
    std::vector<Candidate> candidates = Weighted(c.weights);
    KeepTopP(c.top_p, candidates);
    EXPECT_EQ(SortedIds(candidates), c.kept) << c.situation;
    EXPECT_EQ(SortedIds(KeepTopP(c.top_p, Scores(c.weights))), c.kept)
        << c.situation;
  }
}

TEST(KeepTopPTest, AgreesWithSortingALargeVocabulary) {
  std::mt19937 generator(5);
  std::normal_distribution<double> normal(0.0, 2.0);
  std::vector<double> weights(5000);
  for (double& weight : weights) weight = std::exp(normal(generator));
  std::vector<Candidate> sorted = Weighted(weights);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.score > b.score; });
  double total = 0.0;
  for (const Candidate& c : sorted) total += std::exp(double{c.score});
  for (const float top_p : {0.1f, 0.5f, 0.9f, 0.999f}) {
    std::vector<Candidate> expected;
    double before = 0.0;
    for (const Candidate& c : sorted) {
      if (before >= double{top_p} * total) break;
      expected.push_back(c);
      before += std::exp(double{c.score});
    }
    std::vector<Candidate> candidates = Weighted(weights);
    KeepTopP(top_p, candidates);
    EXPECT_EQ(SortedIds(candidates), SortedIds(expected)) << top_p;
    EXPECT_EQ(SortedIds(KeepTopP(top_p, Scores(weights))), SortedIds(expected))
        << top_p;
  }
}

TEST(KeepTypicalTest, KeepsWhatIsNearestToTheEntropy) {
  struct Case {
    std::string situation;
    std::vector<double> weights;
    float typical_p;
    std::vector<int32_t> kept;
  };
  const std::vector<Case> cases = {
      // Information in bits 1 2 3 3, entropy 1.75: deviations .75
      // .25 1.25 1.25.
      {"the nearest is not the best", {.5, .25, .125, .125}, .2f, {1}},
      {"then the best", {.5, .25, .125, .125}, .5f, {0, 1}},
      {"equals at the boundary stay", {.5, .25, .125, .125}, .8f, {0, 1, 2, 3}},
      // Information 3 1 2 3 bits.
      {"in any order", {.125, .5, .25, .125}, .5f, {1, 2}},
      {"uniform keeps all", {1, 1, 1}, .1f, {0, 1, 2}},
      {"one candidate", {1}, .5f, {0}},
  };
  for (const Case& c : cases) {
    std::vector<Candidate> candidates = Weighted(c.weights);
    KeepTypical(c.typical_p, candidates);
    EXPECT_EQ(SortedIds(candidates), c.kept) << c.situation;
  }
}

}  // namespace
}  // namespace drover
