#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>

#include "base/read_file.h"
#include "base/status_macros.h"
#include "model/tokenizer/tokenizer_json.h"
#include "model/tokenizer/utf8_assembler.h"
#include "tests/tokenizer/tokenizer_contract.h"

namespace drover {
namespace {

std::string ReadTokenizer(const std::string& name) {
  return *ReadFile(std::string(DROVER_SOURCE_DIR) +
                       "/tests/testdata/tokenizers/" + name + "_tokenizer.json",
                   1 << 20);
}

// What a file's bytes may become: others that JSON makes something of.
char RandomByte(std::mt19937_64& random) {
  static constexpr std::string_view kBytes =
      "{}[]\",:0123456789-.\\ntrufalse()?*+|spLN \xC4\xA0";
  return kBytes[random() % kBytes.size()];
}

std::string Mutate(std::string text, std::mt19937_64& random) {
  // Most of a file is vocabulary; what is interesting is in front of it.
  const size_t front = text.find("\"vocab\"");
  for (uint64_t count = 1 + random() % 3; count > 0; --count) {
    const size_t range = random() % 4 == 0 ? text.size() : front;
    const size_t at = random() % range;
    switch (random() % 3) {
      case 0:
        text[at] = RandomByte(random);
        break;
      case 1:
        text.insert(at, 1, RandomByte(random));
        break;
      default:
        text.erase(at, 1 + random() % 4);
    }
  }
  return text;
}

// Everything that a request can make a tokenizer do.
absl::Status Use(const Tokenizer& tokenizer) {
  for (const char* text : {"", " ", "Once upon a time  there's 12",
                           "e\u0301 🦙\n日本<s><l> x"}) {
    DROVER_RETURN_IF_ERROR(CheckEncoding(tokenizer, text));
  }
  return CheckVocabulary(tokenizer);
}

TEST(TokenizerJsonMutationTest, MutatedFilesAreRefusedOrWork) {
  constexpr uint64_t kSeed = 20261128;
  constexpr int kRounds = 600;
  std::mt19937_64 random(kSeed);
  const std::string texts[] = {ReadTokenizer("nemo_style"),
                               ReadTokenizer("added_flags"),
                               ReadTokenizer("split_behaviors")};
  int num_refused = 0;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    const auto tokenizer =
        ParseTokenizerJson(Mutate(texts[round % std::size(texts)], random));
    if (!tokenizer.ok()) {
      ++num_refused;
      ASSERT_TRUE(IsValidUtf8(std::string(tokenizer.status().message())));
      continue;
    }
    ASSERT_EQ(Use(**tokenizer), absl::OkStatus());
  }
  EXPECT_GT(num_refused, 0);
  EXPECT_LT(num_refused, kRounds);
}

}  // namespace
}  // namespace drover
