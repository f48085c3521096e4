#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "model/tokenizer/tokenizer.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(SyntheticTokenizerTest, OneWordIsOneId) {
  const auto tokenizer = MakeSyntheticTokenizer(32000);
  const auto encoding =
      tokenizer->Encode("  Once upon\ta\n\ntime ", /*with_offsets=*/true);
  ASSERT_THAT(encoding, IsOk());
  EXPECT_EQ(encoding->ids.size(), 5u);
  EXPECT_EQ(encoding->ids[0], tokenizer->bos_id());
  EXPECT_THAT(encoding->offsets,
              ElementsAre(ByteRange{0, 0}, ByteRange{2, 6}, ByteRange{7, 11},
                          ByteRange{12, 13}, ByteRange{15, 19}));
}

TEST(SyntheticTokenizerTest, EqualWordsHaveEqualIdsInEveryProcess) {
  const auto tokenizer = MakeSyntheticTokenizer(32000);
  // FNV-1a of "a" is 0xaf63dc4c8601ec8c; modulo 31998, past BOS and EOS.
  EXPECT_THAT(tokenizer->Encode("a a", false)->ids,
              ElementsAre(1, 0xaf63dc4c8601ec8c % 31998 + 2,
                          0xaf63dc4c8601ec8c % 31998 + 2));
}

TEST(SyntheticTokenizerTest, AnEmptyTextIsBosAlone) {
  const auto tokenizer = MakeSyntheticTokenizer(10);
  EXPECT_THAT(tokenizer->Encode("", true)->ids, ElementsAre(1));
  EXPECT_THAT(tokenizer->Encode(" \n ", false)->ids, ElementsAre(1));
  EXPECT_THAT(tokenizer->Encode("", false)->offsets, IsEmpty());
}

TEST(SyntheticTokenizerTest, WhatIdsReadEncodesToThem) {
  constexpr int32_t kVocabSize = 300;
  const auto tokenizer = MakeSyntheticTokenizer(kVocabSize);
  for (int32_t id = 0; id < kVocabSize; ++id) {
    if (tokenizer->IsSpecial(id)) continue;
    EXPECT_EQ(tokenizer->Bytes(id), " w" + std::to_string(id));
    EXPECT_EQ(tokenizer->Piece(id), "▁w" + std::to_string(id));
    EXPECT_THAT(tokenizer->Encode(tokenizer->Bytes(id), false)->ids,
                ElementsAre(1, id));
  }
}

TEST(SyntheticTokenizerTest, NoWordIsBosOrEos) {
  const auto tokenizer = MakeSyntheticTokenizer(4);  // words are 0 and 3
  std::string text = "w1 w2 w4 w03 w-3 w99999999999 w w3x <s> </s>";
  for (int i = 0; i < 100; ++i) text += " word" + std::to_string(i);
  auto ids = tokenizer->Encode(text, false)->ids;
  ids.erase(ids.begin());
  EXPECT_THAT(ids, Each(::testing::AnyOf(0, 3)));
  EXPECT_THAT(ids, ::testing::Contains(0));
  EXPECT_THAT(ids, ::testing::Contains(3));
}

TEST(SyntheticTokenizerTest, BosAndEosHavePiecesButNoBytes) {
  const auto tokenizer = MakeSyntheticTokenizer(10);
  EXPECT_TRUE(tokenizer->IsSpecial(1) && tokenizer->IsSpecial(2));
  EXPECT_FALSE(tokenizer->IsSpecial(0) || tokenizer->IsSpecial(3));
  EXPECT_EQ(tokenizer->Piece(1), "<s>");
  EXPECT_EQ(tokenizer->Piece(2), "</s>");
  EXPECT_EQ(tokenizer->Bytes(1), "");
  EXPECT_EQ(tokenizer->Bytes(2), "");
}

TEST(SyntheticTokenizerTest, UnknownIdsAreEmpty) {
  const auto tokenizer = MakeSyntheticTokenizer(10);
  for (const int32_t id : {-1, 10}) {
    EXPECT_EQ(tokenizer->Piece(id), "");
    EXPECT_EQ(tokenizer->Bytes(id), "");
    EXPECT_FALSE(tokenizer->IsSpecial(id));
  }
  EXPECT_EQ(tokenizer->vocab_size(), 10);
}

TEST(SyntheticTokenizerTest, WhatIsNotUtf8IsRefused) {
  EXPECT_THAT(
      MakeSyntheticTokenizer(10)->Encode("a\xFF", false),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not UTF-8")));
}

}  // namespace
}  // namespace drover
