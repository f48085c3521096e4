#include "model/tokenizer/added_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// "text", or "<id>text" for a token.
std::vector<std::string> Split(std::vector<AddedToken> tokens,
                               std::string_view text) {
  std::vector<std::string> parts;
  uint32_t end = 0;
  for (const auto& [range, id] :
       AddedTokenMatcher(std::move(tokens)).Split(text)) {
    EXPECT_EQ(range.begin, end);
    end = range.end;
    const std::string part(text.substr(range.begin, range.end - range.begin));
    parts.push_back(id == AddedTokenMatcher::kNoToken
                        ? part
                        : "<" + std::to_string(id) + ">" + part);
  }
  EXPECT_EQ(end, text.size());
  return parts;
}

TEST(AddedTokensTest, TextIsCutIntoTokensAndTheRest) {
  const std::vector<AddedToken> tokens = {{.id = 7, .content = "<s>"},
                                          {.id = 8, .content = "日本"}};
  EXPECT_THAT(Split(tokens, "<s>a<s><s>日本語"),
              ElementsAre("<7><s>", "a", "<7><s>", "<7><s>", "<8>日本", "語"));
  EXPECT_THAT(Split(tokens, "<s"), ElementsAre("<s"));
  EXPECT_THAT(Split(tokens, ""), IsEmpty());
  EXPECT_THAT(Split({}, "<s>"), ElementsAre("<s>"));
}

TEST(AddedTokensTest, TheLeftmostCountsAndOfThoseTheLongest) {
  const std::vector<AddedToken> tokens = {{.id = 1, .content = "ab"},
                                          {.id = 2, .content = "abcd"},
                                          {.id = 3, .content = "bcdefg"},
                                          {.id = 4, .content = "e"}};
  EXPECT_THAT(Split(tokens, "abcdefg"), ElementsAre("<2>abcd", "<4>e", "fg"));
  EXPECT_THAT(Split(tokens, "abcxbcdefg"),
              ElementsAre("<1>ab", "cx", "<3>bcdefg"));
}

TEST(AddedTokensTest, TokensMayTakeTheWhiteSpaceAroundThem) {
  const std::vector<AddedToken> tokens = {
      {.id = 1, .content = "L", .lstrip = true},
      {.id = 2, .content = "R", .rstrip = true}};
  EXPECT_THAT(Split(tokens, "a \u3000\nL b"),
              ElementsAre("a", "<1> \u3000\nL", " b"));
  EXPECT_THAT(Split(tokens, "a R\u00a0 b"),
              ElementsAre("a ", "<2>R\u00a0 ", "b"));
  EXPECT_THAT(Split(tokens, " L R "), ElementsAre("<1> L", " ", "<2>R "));
  EXPECT_THAT(Split(tokens, "R  L"), ElementsAre("<2>R  ", "<1>L"));
}

TEST(AddedTokensTest, SingleWordsStandAlone) {
  const std::vector<AddedToken> tokens = {
      {.id = 1, .content = "no", .single_word = true}};
  EXPECT_THAT(Split(tokens, "no,no no"),
              ElementsAre("<1>no", ",", "<1>no", " ", "<1>no"));
  for (const char* text : {"now", "ano", "no1", "no_", "_no", "éno", "no\u0301",
                           "no\u200d", "日no", "nono"}) {
    EXPECT_THAT(Split(tokens, text), ElementsAre(text));
  }
}

}  // namespace
}  // namespace drover
