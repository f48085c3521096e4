#include "server/text_assembly.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace drover {
namespace {

using Token = TextAssembler::Token;
using ::testing::ElementsAre;

// What each token showed, up to the stop, then what was held back at the end.
struct Outcome {
  std::vector<std::string> shown;
  fmaas::StopReason stop_reason = fmaas::NOT_FINISHED;
  std::string stop_sequence;
};

Outcome Assemble(const TextAssembler::Options& options,
                 const std::vector<Token>& tokens) {
  TextAssembler assembler(options);
  Outcome outcome;
  for (const Token& token : tokens) {
    TextAssembler::Increment increment = assembler.Push(token);
    outcome.shown.push_back(increment.text);
    if (increment.stop_reason == fmaas::NOT_FINISHED) continue;
    outcome.stop_reason = increment.stop_reason;
    outcome.stop_sequence = increment.stop_sequence;
    return outcome;
  }
  outcome.shown.push_back(assembler.Finish());
  return outcome;
}

std::vector<Token> Tokens(const std::vector<std::string_view>& texts) {
  std::vector<Token> tokens;
  for (const std::string_view text : texts) tokens.push_back({.bytes = text});
  return tokens;
}

struct StopCase {
  const char* situation;
  std::vector<std::string> stop_sequences;
  bool include = true;
  std::vector<std::string_view> tokens;
  std::vector<std::string> shown;  // the last: at the end, if nothing matched
  std::string stop_sequence = "";  // empty: nothing matched
};

TEST(TextAssembly, StopSequencesCutTheText) {
  const std::vector<StopCase> cases = {
      {"no stop sequences: everything at once",
       {},
       true,
       {" there", " was"},
       {" there", " was", ""}},
      {"excluded, a token of its own",
       {"\n"},
       false,
       {"one", "\n", "two"},
       {"one", ""},
       "\n"},
      {"included, a token of its own",
       {"\n"},
       true,
       {"one", "\n", "two"},
       {"one", "\n"},
       "\n"},
      {"excluded, across tokens: its beginning waits",
       {"END"},
       false,
       {"aE", "N", "Db"},
       {"a", "", ""},
       "END"},
      {"included, across tokens: nothing needs to wait",
       {"END"},
       true,
       {"aE", "N", "Db"},
       {"aE", "N", "D"},
       "END"},
      {"inside one token", {"END"}, false, {"xENDy"}, {"x"}, "END"},
      {"a beginning that comes to nothing is shown as soon as it does",
       {"END"},
       false,
       {"E", "N", "X", "E"},
       {"", "", "ENX", "", "E"}},
      {"a beginning inside a beginning",
       {"aab"},
       false,
       {"a", "a", "a", "b"},
       {"", "", "a", ""},
       "aab"},
      {"multi-byte, its bytes in several tokens",
       {"é"},
       false,
       {"caf\xc3", "\xa9 now"},
       {"caf", ""},
       "é"},
      {"half of another character does not match",
       {"é"},
       false,
       {"caf\xc3", "\xaa"},
       {"caf", "ê", ""}},
      {"of two, the one that ends first",
       {"long stop", "st"},
       false,
       {"a long stop"},
       {"a long "},
       "st"},
      {"of two that end together, the list's first",
       {"b", "ab"},
       false,
       {"xab"},
       {"xa"},
       "b"},
      {"of two that end together, the list's first, again",
       {"ab", "b"},
       false,
       {"xab"},
       {"x"},
       "ab"},
      {"the first of several places",
       {"."},
       true,
       {"one. two. three."},
       {"one."},
       "."},
  };
  for (const StopCase& row : cases) {
    SCOPED_TRACE(row.situation);
    const Outcome outcome = Assemble({.stop_sequences = row.stop_sequences,
                                      .include_stop_sequence = row.include},
                                     Tokens(row.tokens));
    EXPECT_EQ(outcome.shown, row.shown);
    EXPECT_EQ(outcome.stop_sequence, row.stop_sequence);
    EXPECT_EQ(outcome.stop_reason, row.stop_sequence.empty()
                                       ? fmaas::NOT_FINISHED
                                       : fmaas::STOP_SEQUENCE);
  }
}

struct ReasonCase {
  const char* situation;
  int32_t min_new_tokens = 0;
  Token token;  // the second; the first says "a"
  fmaas::StopReason expected;
  std::string text;
};

TEST(TextAssembly, ReasonsComeInOrder) {
  const std::vector<ReasonCase> cases = {
      {"nothing", 0, {.bytes = "b"}, fmaas::NOT_FINISHED, "b"},
      {"EOS", 0, {.is_eos = true}, fmaas::EOS_TOKEN, ""},
      {"EOS on the last allowed token",
       0,
       {.is_eos = true, .is_last_allowed = true},
       fmaas::EOS_TOKEN,
       ""},
      {"the last allowed token",
       0,
       {.bytes = "b", .is_last_allowed = true},
       fmaas::TOKEN_LIMIT,
       "b"},
      {"a stop sequence on the last allowed token",
       0,
       {.bytes = "bX", .is_last_allowed = true},
       fmaas::STOP_SEQUENCE,
       "b"},
      {"time over beats EOS",
       0,
       {.is_eos = true, .time_over = true},
       fmaas::TIME_LIMIT,
       ""},
      {"time over beats a stop sequence, and keeps the token",
       0,
       {.bytes = "bX", .is_last_allowed = true, .time_over = true},
       fmaas::TIME_LIMIT,
       "bX"},
      {"time over beats min_new_tokens",
       3,
       {.bytes = "b", .time_over = true},
       fmaas::TIME_LIMIT,
       "b"},
      {"a stop sequence before min_new_tokens",
       3,
       {.bytes = "bX"},
       fmaas::NOT_FINISHED,
       "bX"},
      {"a stop sequence on token number min_new_tokens",
       2,
       {.bytes = "bX"},
       fmaas::STOP_SEQUENCE,
       "b"},
      {"EOS before min_new_tokens",
       3,
       {.is_eos = true},
       fmaas::NOT_FINISHED,
       ""},
      {"min equals max",
       2,
       {.bytes = "b", .is_last_allowed = true},
       fmaas::TOKEN_LIMIT,
       "b"},
  };
  for (const ReasonCase& row : cases) {
    SCOPED_TRACE(row.situation);
    TextAssembler assembler({.stop_sequences = {"X"},
                             .include_stop_sequence = false,
                             .min_new_tokens = row.min_new_tokens,
                             .last_token_reason = fmaas::TOKEN_LIMIT});
    assembler.Push({.bytes = "a"});
    const TextAssembler::Increment increment = assembler.Push(row.token);
    EXPECT_EQ(increment.stop_reason, row.expected);
    EXPECT_EQ(increment.text, row.text);
    EXPECT_EQ(assembler.num_tokens(), 2);
  }
}

TEST(TextAssembly, AStopSequenceCompletedTooEarlyNeverMatchesLater) {
  const Outcome outcome = Assemble({.stop_sequences = {"ab"},
                                    .include_stop_sequence = false,
                                    .min_new_tokens = 3},
                                   Tokens({"a", "b", "c", "ab"}));
  EXPECT_THAT(outcome.shown, ElementsAre("", "ab", "c", ""));
  EXPECT_EQ(outcome.stop_reason, fmaas::STOP_SEQUENCE);
}

TEST(TextAssembly, AStopSequenceBegunTooEarlyMatchesOnceItMay) {
  const Outcome outcome = Assemble({.stop_sequences = {"abc"},
                                    .include_stop_sequence = false,
                                    .min_new_tokens = 3},
                                   Tokens({"a", "b", "c"}));
  EXPECT_THAT(outcome.shown, ElementsAre("", "", ""));
  EXPECT_EQ(outcome.stop_reason, fmaas::STOP_SEQUENCE);
}

TEST(TextAssembly, CharactersAreShownWhole) {
  const Outcome outcome = Assemble(
      {}, Tokens({"\xf0", "\x9f", "\x98", "\x80!", "\xff", "\xe2\x82"}));
  EXPECT_THAT(outcome.shown,
              ElementsAre("", "", "", "😀!", "\xef\xbf\xbd", "", ""));
}

TEST(TextAssembly, WhatIsHeldBackIsShownWhenTheTextEnds) {
  TextAssembler assembler(
      {.stop_sequences = {"abc"}, .include_stop_sequence = false});
  EXPECT_EQ(assembler.Push({.bytes = "ab"}).text, "");
  EXPECT_EQ(assembler.Push({.is_eos = true}).text, "ab");
}

}  // namespace
}  // namespace drover
