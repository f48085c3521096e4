#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/read_file.h"
#include "model/tokenizer/sentencepiece_tokenizer.h"
#include "model/tokenizer/utf8_assembler.h"

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
void Use(const Tokenizer& tokenizer) {
  for (const char* text :
       {"", " ", "Once upon a time  there", "é 🦙\n日本"}) {
    const auto encoding = tokenizer.Encode(text, /*with_offsets=*/true);
    if (!encoding.ok()) continue;
    ASSERT_EQ(encoding->ids.size(), encoding->offsets.size());
    for (const ByteRange& range : encoding->offsets) {
      ASSERT_LE(range.begin, range.end);
      ASSERT_LE(range.end, std::string_view(text).size());
    }
    for (const int32_t id : encoding->ids) {
      ASSERT_GE(id, 0);
      ASSERT_LT(id, tokenizer.vocab_size());
    }
  }
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    ASSERT_TRUE(IsValidUtf8(tokenizer.Piece(id)));
    ASSERT_EQ(tokenizer.Bytes(id).empty(), tokenizer.IsSpecial(id));
  }
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
    const auto tokenizer =
        SentencepieceTokenizer::Create(Mutate(model, random), true);
    if (!tokenizer.ok()) {
      ++num_refused;
      continue;
    }
    ASSERT_NO_FATAL_FAILURE(Use(**tokenizer));
  }
  EXPECT_GT(num_refused, 0);
  EXPECT_LT(num_refused, kRounds);
}

}  // namespace
}  // namespace drover
