#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/text_assembly.h"
#include "tests/server/text_assembly_reference.h"

namespace drover {
namespace {

// One random request: tokens cut anywhere, also inside characters, out of few
// characters, so that stop sequences match, overlap and almost match.
struct Scenario {
  TextAssembler::Options options;
  std::vector<std::string> tokens;
};

std::string RandomText(std::mt19937& random, int max_characters) {
  static const std::vector<std::string> kCharacters = {"a", "b", "é", "€", "😀"};
  std::uniform_int_distribution<int> length(1, max_characters);
  std::uniform_int_distribution<size_t> pick(0, kCharacters.size() - 1);
  std::string text;
  for (int i = length(random); i > 0; --i) text += kCharacters[pick(random)];
  return text;
}

Scenario RandomScenario(std::mt19937& random) {
  Scenario scenario;
  const std::string text = RandomText(random, 40);
  std::uniform_int_distribution<size_t> size(0, 5);
  for (size_t at = 0; at < text.size();) {
    scenario.tokens.push_back(text.substr(at, size(random)));
    at += scenario.tokens.back().size();
  }
  std::uniform_int_distribution<int> num_stops(0, 3);
  for (int i = num_stops(random); i > 0; --i) {
    scenario.options.stop_sequences.push_back(RandomText(random, 5));
  }
  scenario.options.include_stop_sequence = random() % 2 == 0;
  scenario.options.min_new_tokens = static_cast<int32_t>(random() % 4);
  return scenario;
}

TEST(TextAssemblyProperty, IncrementsAddUpToTheTextComputedInOnePiece) {
  int num_matched = 0;
  for (uint32_t seed = 0; seed < 20000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const Scenario scenario = RandomScenario(random);
    std::vector<TextAssembler::Token> tokens;
    for (const std::string& bytes : scenario.tokens) {
      tokens.push_back({.bytes = bytes});
    }
    ASSERT_EQ(CheckIncrements(scenario.options, tokens), "");
    const AssembledText whole = AssembleInOnePiece(scenario.options, tokens);
    num_matched += whole.stop_reason == fmaas::STOP_SEQUENCE ? 1 : 0;
  }
  // The scenarios are worth their name.
  EXPECT_GT(num_matched, 5000);
  EXPECT_LT(num_matched, 15000);
}

}  // namespace
}  // namespace drover
