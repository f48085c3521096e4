#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/read_file.h"
#include "base/status_macros.h"
#include "model/tokenizer/sentencepiece_tokenizer.h"
#include "tests/tokenizer/tokenizer_contract.h"

namespace drover {
namespace {

// The last bytes of a model hold its specifications; the rest are pieces.
constexpr size_t kSpecificationBytes = 128;

std::string Mutate(std::string bytes, std::mt19937_64& random) {
  for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
    const size_t range = random() % 2 == 0 ? bytes.size() : kSpecificationBytes;
    bytes[bytes.size() - 1 - random() % range] ^=
        static_cast<char>(1 + random() % 255);
  }
  if (random() % 8 == 0) bytes.resize(random() % bytes.size());
  return bytes;
}

// Everything that a request can make a tokenizer do.
absl::Status Use(const Tokenizer& tokenizer) {
  for (const char* text :
       {"", " ", "Once upon a time  there", "é 🦙\n日本"}) {
    DROVER_RETURN_IF_ERROR(CheckEncoding(tokenizer, text));
  }
  return CheckVocabulary(tokenizer);
}

TEST(TokenizerMutationTest, MutatedModelsAreRefusedOrWork) {
  constexpr uint64_t kSeed = 20260727;
  constexpr int kRounds = 400;
  const std::string model = *ReadFile(
      std::string(DROVER_SOURCE_DIR) + "/models/fables-7m/tokenizer.model",
      1 << 20);
  std::mt19937_64 random(kSeed);
  int num_refused = 0;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    const auto tokenizer = SentencepieceTokenizer::Create(
        Mutate(model, random),
        {.finds_added_tokens = true, .prefixes_every_part = false});
    if (!tokenizer.ok()) {
      ++num_refused;
      continue;
    }
    ASSERT_EQ(Use(**tokenizer), absl::OkStatus());
  }
  EXPECT_GT(num_refused, 0);
  EXPECT_LT(num_refused, kRounds);
}

}  // namespace
}  // namespace drover
