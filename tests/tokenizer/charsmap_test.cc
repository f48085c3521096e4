#include "model/tokenizer/charsmap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "model/tokenizer/sentencepiece_tokenizer.h"
#include "tests/testing/status_matchers.h"
#include "tests/tokenizer/model_builder.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kReplacements("b\0", 2);

TEST(CharsmapTest, TablesAreFoundInBothSpecifications) {
  const std::string model =
      BytesField(1, "a piece") + NumberField(9, 300) +
      BytesField(3, BytesField(2, "first")) +
      BytesField(5, NumberField(1, 1) + BytesField(2, "second"));
  EXPECT_THAT(*FindCharsmaps(model), ElementsAre("first", "second"));
  EXPECT_THAT(*FindCharsmaps(""), IsEmpty());
}

TEST(CharsmapTest, WhatIsNoProtobufIsRefused) {
  const std::string model = BytesField(3, BytesField(2, "first"));
  for (size_t size = 1; size < model.size(); ++size) {
    EXPECT_EQ(FindCharsmaps(model.substr(0, size)), std::nullopt) << size;
  }
  EXPECT_EQ(FindCharsmaps("\x0F"), std::nullopt);  // wire type 7
  EXPECT_EQ(FindCharsmaps(std::string(11, '\xFF')), std::nullopt);
  EXPECT_EQ(FindCharsmaps(BytesField(3, "\x12\x05")), std::nullopt);
}

TEST(CharsmapTest, ASmallTableIsSound) {
  EXPECT_TRUE(IsSoundCharsmap(TrieFromAToB().Charsmap(kReplacements)));
}

TEST(CharsmapTest, TablesOfTheWrongSizeAreNotSound) {
  const std::string table = TrieFromAToB().Charsmap(kReplacements);
  for (size_t size = 0; size < table.size(); ++size) {
    EXPECT_FALSE(IsSoundCharsmap(table.substr(0, size))) << size;
  }
  EXPECT_FALSE(IsSoundCharsmap(TrieFromAToB().Charsmap("b")));
  EXPECT_FALSE(IsSoundCharsmap(TrieFromAToB().Charsmap("")));
  std::string no_multiple = table;
  no_multiple[0] = 4;
  EXPECT_FALSE(IsSoundCharsmap(no_multiple));
}

TEST(CharsmapTest, WalksOutOfTheTableAreNotSound) {
  EXPECT_FALSE(IsSoundCharsmap(
      TrieFromAToB().Set(0, 0, 256, false).Charsmap(kReplacements)));
  EXPECT_FALSE(IsSoundCharsmap(
      TrieFromAToB().Set(1 ^ 'a', 'a', 256, true).Charsmap(kReplacements)));
}

TEST(CharsmapTest, WalksInACircleAreNotSound) {
  EXPECT_FALSE(IsSoundCharsmap(
      TrieFromAToB().Set(1 ^ 'a', 'a', 'a', false).Charsmap(kReplacements)));
}

// "a", "aa", "aaa", ... are each a key.
std::string NestedRules(size_t count) {
  constexpr uint8_t kByte = 0xFF;  // leads from state n to unit 255 - n
  TrieBuilder trie;
  trie.Set(0, 0, 1, false);
  for (size_t state = 1; state <= count; ++state) {
    const size_t at = state ^ kByte;
    trie.Set(at, kByte, static_cast<uint32_t>(at ^ (state + 1)), true);
  }
  return trie.Charsmap(kReplacements);
}

TEST(CharsmapTest, MoreRulesOnOneWalkThanThereIsRoomForAreNotSound) {
  EXPECT_TRUE(IsSoundCharsmap(NestedRules(32)));
  EXPECT_FALSE(IsSoundCharsmap(NestedRules(33)));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Create(std::string_view charsmap) {
  return SentencepieceTokenizer::Create(
      ModelBytes({{"<unk>", kUnk}, {"▁", kNormal}, {"b", kNormal}}, charsmap),
      {});
}

TEST(CharsmapTest, TokenizersNormaliseBySoundTablesAndRefuseOthers) {
  const auto tokenizer = Create(TrieFromAToB().Charsmap(kReplacements));
  ASSERT_THAT(tokenizer, IsOk());
  const auto encoding = (*tokenizer)->Encode("aba", true);
  EXPECT_THAT(encoding->ids, ElementsAre(1, 2, 2, 2));
  EXPECT_THAT(encoding->offsets, ElementsAre(ByteRange{0, 1}, ByteRange{0, 1},
                                             ByteRange{1, 2}, ByteRange{2, 3}));
  EXPECT_THAT(Create(NestedRules(33)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("precompiled_charsmap is malformed")));
}

// One character becomes three, and the offsets stay on it: "a" -> "bbb".
TEST(CharsmapTest, CharactersThatGrowKeepTheirRange) {
  const auto tokenizer =
      Create(TrieFromAToB().Charsmap(std::string_view("bbb\0", 4)));
  ASSERT_THAT(tokenizer, IsOk());
  const auto encoding = (*tokenizer)->Encode("éa", true);
  EXPECT_THAT(encoding->ids, ElementsAre(1, 0, 2, 2, 2));
  EXPECT_THAT(encoding->offsets,
              ElementsAre(ByteRange{0, 2}, ByteRange{0, 2}, ByteRange{2, 3},
                          ByteRange{2, 3}, ByteRange{2, 3}));
}

}  // namespace
}  // namespace drover
