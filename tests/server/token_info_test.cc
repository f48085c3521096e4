#include "server/token_info.h"

#include <cmath>

#include "gtest/gtest.h"
#include "tests/server/script_tokenizer.h"

namespace drover {
namespace {

using testing::ScriptTokenizer;

// "a" is id 101, "b" 102, "c" 103.
const TokenScore kScore = {
    .id = 102,
    .logprob = -0.5f,
    .rank = 2,
    .top = {{.id = 103, .logprob = -0.25f}, {.id = 101, .logprob = -0.5f}}};

fmaas::TokenInfo Info(const TokenScore& score, const ResponseDetails& details) {
  return MakeTokenInfo(score, details, ScriptTokenizer());
}

TEST(TokenInfo, OnlyThePieceUnlessMoreIsAskedFor) {
  EXPECT_EQ(Info(kScore, {}).ShortDebugString(), "text: \"b\"");
}

TEST(TokenInfo, FieldsComeOneByOne) {
  EXPECT_EQ(Info(kScore, {.logprobs = true}).ShortDebugString(),
            "text: \"b\" logprob: -0.5");
  EXPECT_EQ(Info(kScore, {.ranks = true}).ShortDebugString(),
            "text: \"b\" rank: 2");
}

TEST(TokenInfo, TopTokensAreBestFirstWithLogprobs) {
  EXPECT_EQ(Info(kScore, {.logprobs = true, .top_n = 2}).ShortDebugString(),
            "text: \"b\" logprob: -0.5 "
            "top_tokens { text: \"c\" logprob: -0.25 } "
            "top_tokens { text: \"a\" logprob: -0.5 }");
}

TEST(TokenInfo, OfEqualLogprobsTheLowerIdIsFirst) {
  const TokenScore score = {.id = 103,
                            .logprob = -1.0f,
                            .top = {{.id = 103, .logprob = -1.0f},
                                    {.id = 101, .logprob = -1.0f},
                                    {.id = 102, .logprob = -1.5f}}};
  std::string pieces;
  const fmaas::TokenInfo info = Info(score, {.logprobs = true, .top_n = 3});
  for (const auto& top : info.top_tokens()) pieces += top.text();
  EXPECT_EQ(pieces, "acb");
}

TEST(TokenInfo, TopTokensAreById) {
  EXPECT_EQ(
      Info(kScore, {.top_n = 2}).ShortDebugString(),
      "text: \"b\" top_tokens { text: \"a\" } top_tokens { text: \"c\" }");
}

TEST(TokenInfo, NegativeZeroIsNoField) {
  const TokenScore certain = {
      .id = 101, .logprob = -0.0f, .rank = 1, .top = {{101, -0.0f}}};
  EXPECT_EQ(Info(certain, {.logprobs = true, .top_n = 1}).ShortDebugString(),
            "text: \"a\" top_tokens { text: \"a\" }");
}

TEST(TokenInfo, ThePieceIsNotTheDecodedText) {
  EXPECT_EQ(Info({.id = ScriptTokenizer::kEos}, {}).text(), "</s>");
  EXPECT_EQ(Info({.id = 100000}, {}).ShortDebugString(), "");
}

TEST(TokenInfo, NothingPredictsTheFirstInputToken) {
  const ScriptTokenizer tokenizer;
  const fmaas::TokenInfo with = MakeFirstInputTokenInfo(
      1, {.logprobs = true, .ranks = true, .top_n = 2}, tokenizer);
  EXPECT_EQ(with.text(), "<s>");
  EXPECT_TRUE(std::isnan(with.logprob()));
  EXPECT_EQ(with.rank(), 0);
  EXPECT_EQ(with.top_tokens_size(), 0);
  EXPECT_EQ(
      MakeFirstInputTokenInfo(1, {.ranks = true}, tokenizer).ShortDebugString(),
      "text: \"<s>\"");
}

}  // namespace
}  // namespace drover
