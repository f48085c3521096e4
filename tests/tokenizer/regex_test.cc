#include "model/tokenizer/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/regex_dialect.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(RegexDialectTest, WhatBothReadAlikeStaysAsItIs) {
  for (const char* pattern :
       {"", "abc", "a|b", "(a)", "(?:a|b)*?", "(?=a)(?!b)(?<=c)(?<!d)(?>e)",
        "(?i:'s|'t)", "[^a-z]+", "[\\r\\n/]*", "\\p{L}\\P{Nd}[\\p{Lu}\\p{M}]++",
        "a{2}b{2,}c{2,3}", ".", "日本", "[一-龥]", "\\.\\[\\(\\\\", "[\\]\\-]",
        "[(?{$^]", "# a"}) {
    const auto translated = ToPcre2(pattern);
    ASSERT_THAT(translated, IsOk()) << pattern;
    EXPECT_EQ(*translated, pattern);
  }
}

TEST(RegexDialectTest, ShortClassesAreSpelledOut) {
  EXPECT_EQ(*ToPcre2(R"(\s+(?!\S)|[^\s\p{L}])"),
            R"(\p{White_Space}+(?!\P{White_Space})|[^\p{White_Space}\p{L}])");
  EXPECT_EQ(*ToPcre2(R"(\d\D)"), R"(\p{Nd}\P{Nd})");
}

TEST(RegexDialectTest, WhatTheyReadDifferentlyIsRefusedByName) {
  struct Row {
    const char* pattern;
    const char* what;
  };
  for (const Row& row : std::vector<Row>{
           {"^a", "\"^\""},
           {"a$", "\"$\""},
           {"\\w", "\"\\\\w\""},
           {"\\h", "\"\\\\h\""},
           {"\\1", "\"\\\\1\""},
           {"\\é", "\"\\\\é\""},
           {"(?é)", "\"(?é\""},
           {"a{2é}", "\"{2é\""},
           {"a\\", "\"\\\\\""},
           {"\\p{Han}", "\"\\\\p{Han}\""},
           {"\\p{^L}", "\"\\\\p{^L}\""},
           {"\\pL", "\"\\\\pL\""},
           {"\\p{L", "\"\\\\p{L\""},
           {"(?i:\\p{Lu})", "\"\\\\p{Lu} inside (?i:\""},
           {"(?i:(a|\\p{Lu}))", "inside (?i:"},
           {"[a[b]]", "a class inside a class"},
           {"[[:alpha:]]", "a class inside a class"},
           {"[a&&b]", "&& in a class"},
           {"[]a]", "a class that begins with ]"},
           {"[^]a]", "a class that begins with ]"},
           {"[a", "a class without an end"},
           {"(?m)a", "\"(?m)\""},
           {"(?<name>a)", "\"(?<n\""},
           {"(*UCP)a", "\"(*\""},
           {"a{1,3}+", "\"{..}+\""},
           {"a{2}?", "\"{..}?\""},
           {"a{,3}", "\"{,3}\""},
           {"a{", "\"{\""},
       }) {
    EXPECT_THAT(ToPcre2(row.pattern),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(row.what)))
        << row.pattern;
  }
}

std::vector<std::string> Matches(std::string_view pattern,
                                 std::string_view text) {
  const auto regex = Regex::Compile(pattern);
  EXPECT_THAT(regex, IsOk());
  std::vector<ByteRange> ranges;
  EXPECT_THAT(regex->FindAll(text, ranges), IsOk());
  std::vector<std::string> matches;
  for (const auto& [begin, end] : ranges) {
    matches.emplace_back(text.substr(begin, end - begin));
  }
  return matches;
}

TEST(RegexTest, MatchesComeFromLeftToRight) {
  EXPECT_THAT(Matches("\\p{L}+", "zwei drei_vier"),
              ElementsAre("zwei", "drei", "vier"));
  EXPECT_THAT(Matches("\\p{Lu}", "aÄbЖǅ"), ElementsAre("Ä", "Ж"));
  EXPECT_THAT(Matches("x", "abc"), ElementsAre());
  EXPECT_THAT(Matches("x", ""), ElementsAre());
}

TEST(RegexTest, WhiteSpaceIsUnicodes) {
  EXPECT_THAT(Matches("\\s", "a\u0085b\u00a0c\u3000d\u2029e\u180ef\u200bg"),
              ElementsAre("\u0085", "\u00a0", "\u3000", "\u2029"));
  EXPECT_THAT(Matches("\\s+(?!\\S)|\\s+", "a   b  "),
              ElementsAre("  ", " ", "  "));
}

TEST(RegexTest, CaseFollowsUnicode) {
  EXPECT_THAT(Matches("(?i:'s)s", "'ss 'Ss 'ſs 'SS"),
              ElementsAre("'ss", "'Ss", "'ſs"));
}

TEST(RegexTest, EmptyMatchesCountButNotWhereTheLastOneEnded) {
  EXPECT_THAT(Matches("x*", "axxb日"), ElementsAre("", "xx", "", ""));
}

TEST(RegexTest, LiteralsMatchThemselves) {
  const auto regex = Regex::Literal(".*");
  ASSERT_THAT(regex, IsOk());
  std::vector<ByteRange> matches;
  ASSERT_THAT(regex->FindAll("a.*b.*", matches), IsOk());
  EXPECT_THAT(matches, ElementsAre(ByteRange{1, 3}, ByteRange{4, 6}));
}

TEST(RegexTest, WhatIsNoRegexIsRefused) {
  for (const char* pattern : {"(", ")", "*", "[z-a]", "\\p{Xy}", "(?<=a*)"}) {
    EXPECT_THAT(Regex::Compile(pattern),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("not a usable regex: ")))
        << pattern;
  }
}

TEST(RegexTest, APatternThatExplodesGivesUp) {
  const auto regex = Regex::Compile("(?:a+)+[bc]");
  ASSERT_THAT(regex, IsOk());
  std::vector<ByteRange> matches;
  EXPECT_THAT(regex->FindAll(std::string(64, 'a'), matches),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("limit")));
}

}  // namespace
}  // namespace drover
