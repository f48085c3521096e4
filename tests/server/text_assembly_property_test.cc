#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/text_assembly.h"

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

// The bytes of `text` that form whole characters, `text` being cut UTF-8.
std::string WholeCharacters(const std::string& text) {
  size_t begin_of_last = text.size();
  while (begin_of_last > 0) {
    const auto byte = static_cast<unsigned char>(text[--begin_of_last]);
    if ((byte & 0xc0) == 0x80) continue;
    const size_t size = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return begin_of_last + size <= text.size() ? text
                                               : text.substr(0, begin_of_last);
  }
  return "";
}

struct Reference {
  std::string text;
  std::string stop_sequence;
  size_t num_tokens = 0;
};

// The definition, looking at the whole text anew after each token.
Reference WholeText(const Scenario& scenario) {
  const TextAssembler::Options& options = scenario.options;
  Reference result;
  std::string bytes;
  for (const std::string& token : scenario.tokens) {
    const size_t old_size = WholeCharacters(bytes).size();
    bytes += token;
    result.text = WholeCharacters(bytes);
    ++result.num_tokens;
    if (result.num_tokens < static_cast<size_t>(options.min_new_tokens)) {
      continue;
    }
    for (size_t end = old_size + 1; end <= result.text.size(); ++end) {
      const std::string before = result.text.substr(0, end);
      for (const std::string& stop : options.stop_sequences) {
        if (!before.ends_with(stop)) continue;
        result.stop_sequence = stop;
        const size_t cut = options.include_stop_sequence ? 0 : stop.size();
        result.text = before.substr(0, end - cut);
        return result;
      }
    }
  }
  return result;
}

// What an excluded stop sequence could have begun with must not have been
// shown: all that was shown must be part of every text that may still follow.
bool MayStillBeExcluded(const std::string& shown, const std::string& text,
                        const TextAssembler::Options& options) {
  for (const std::string& stop : options.stop_sequences) {
    for (size_t size = 1; size < stop.size() && size <= text.size(); ++size) {
      if (text.ends_with(stop.substr(0, size)) &&
          shown.size() > text.size() - size) {
        return true;
      }
    }
  }
  return false;
}

void CheckScenario(const Scenario& scenario) {
  const Reference expected = WholeText(scenario);
  TextAssembler assembler(scenario.options);
  std::string shown, bytes, stop_sequence;
  size_t num_tokens = 0;
  for (const std::string& token : scenario.tokens) {
    const TextAssembler::Increment increment = assembler.Push({.bytes = token});
    shown += increment.text;
    bytes += token;
    ++num_tokens;
    stop_sequence = increment.stop_sequence;
    if (increment.stop_reason != fmaas::NOT_FINISHED) break;
    if (!scenario.options.include_stop_sequence) {
      ASSERT_FALSE(
          MayStillBeExcluded(shown, WholeCharacters(bytes), scenario.options));
    }
  }
  if (stop_sequence.empty()) shown += assembler.Finish();
  ASSERT_EQ(shown, expected.text);
  ASSERT_EQ(stop_sequence, expected.stop_sequence);
  ASSERT_EQ(num_tokens, expected.num_tokens);
}

TEST(TextAssemblyProperty, IncrementsAddUpToTheTextComputedInOnePiece) {
  int num_matched = 0;
  for (uint32_t seed = 0; seed < 20000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const Scenario scenario = RandomScenario(random);
    CheckScenario(scenario);
    if (HasFatalFailure()) return;
    num_matched += WholeText(scenario).stop_sequence.empty() ? 0 : 1;
  }
  // The scenarios are worth their name.
  EXPECT_GT(num_matched, 5000);
  EXPECT_LT(num_matched, 15000);
}

}  // namespace
}  // namespace drover
