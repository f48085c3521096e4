#include "model/tokenizer/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

SplitRule Rule(std::string_view pattern, SplitBehavior behavior,
               bool invert = false) {
  return {*Regex::Compile(pattern), behavior, invert};
}

std::vector<std::string> Words(std::vector<SplitRule> rules,
                               std::string_view text) {
  std::vector<ByteRange> ranges;
  EXPECT_THAT(PreTokenizer(std::move(rules)).Split(text, ranges), IsOk());
  std::vector<std::string> words;
  for (const auto& [begin, end] : ranges) {
    words.emplace_back(text.substr(begin, end - begin));
  }
  return words;
}

// The rows of the header.
TEST(PreTokenizerTest, EachBehaviorDoesItsOwnWithTheMatches) {
  struct Row {
    SplitBehavior behavior;
    std::vector<std::string> words;
  };
  for (const Row& row : std::vector<Row>{
           {SplitBehavior::kRemoved, {"the", "final", "countdown"}},
           {SplitBehavior::kIsolated,
            {"the", "-", "final", "-", "-", "countdown"}},
           {SplitBehavior::kMergedWithPrevious,
            {"the-", "final-", "-", "countdown"}},
           {SplitBehavior::kMergedWithNext,
            {"the", "-final", "-", "-countdown"}},
           {SplitBehavior::kContiguous,
            {"the", "-", "final", "--", "countdown"}},
       }) {
    EXPECT_EQ(Words({Rule("-", row.behavior)}, "the-final--countdown"),
              row.words);
  }
}

TEST(PreTokenizerTest, InvertedRulesTakeWhatDoesNotMatch) {
  EXPECT_THAT(Words({Rule("[a-z]+", SplitBehavior::kRemoved, true)}, "-a--bc-"),
              ElementsAre("a", "bc"));
}

TEST(PreTokenizerTest, EachRuleCutsWhatTheOnesBeforeItLeft) {
  EXPECT_THAT(Words({Rule(" ", SplitBehavior::kMergedWithNext),
                     Rule("\\d", SplitBehavior::kIsolated)},
                    "route 66 west"),
              ElementsAre("route", " ", "6", "6", " west"));
  // A later rule does not see across a cut.
  EXPECT_THAT(Words({Rule("-", SplitBehavior::kIsolated),
                     Rule("a(?=-)", SplitBehavior::kIsolated)},
                    "ba-"),
              ElementsAre("ba", "-"));
}

TEST(PreTokenizerTest, WithoutRulesOrTextThereIsLittleToCut) {
  EXPECT_THAT(Words({}, "as it is"), ElementsAre("as it is"));
  EXPECT_THAT(Words({Rule("a?", SplitBehavior::kIsolated)}, ""), IsEmpty());
}

}  // namespace
}  // namespace drover
