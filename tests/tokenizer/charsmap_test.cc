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

// As NFKC has it: the ligature "fi" (EF AC 81) becomes two letters, and "e"
// with U+0301 (CC 81) one. Each byte leads to the state that the comment names.
std::string LigatureAndAccent() {
  return TrieBuilder()
      .Set(0, 0, 1, false)
      .Set(1 ^ 0xEF, 0xEF, 1 ^ 0xEF ^ 0x10, false)        // 0x10
      .Set(0x10 ^ 0xAC, 0xAC, 0x10 ^ 0xAC ^ 0x20, false)  // 0x20
      .Set(0x20 ^ 0x81, 0x81, 0x20 ^ 0x81 ^ 0x40, true)   // 0x40
      .SetValue(0x40, 0)                                  // "fi"
      .Set(1 ^ 'e', 'e', 1 ^ 'e' ^ 0x30, false)           // 0x30
      .Set(0x30 ^ 0xCC, 0xCC, 0x30 ^ 0xCC ^ 0x50, false)  // 0x50
      .Set(0x50 ^ 0x81, 0x81, 0x50 ^ 0x81 ^ 0x60, true)   // 0x60
      .SetValue(0x60, 3)                                  // "é"
      .Charsmap(std::string_view("fi\0\u00E9\0", 6));
}

TEST(CharsmapTest, OffsetsAreOfTheTextBeforeItWasNormalised) {
  const auto tokenizer =
      SentencepieceTokenizer::Create(ModelBytes({{"<unk>", kUnk},
                                                 {"▁", kNormal},
                                                 {"f", kNormal},
                                                 {"i", kNormal},
                                                 {"\u00E9", kNormal},
                                                 {"▁\u00E9", kNormal}},
                                                LigatureAndAccent()),
                                     {.prepend_bos = false});
  ASSERT_THAT(tokenizer, IsOk());
  const auto ligature = (*tokenizer)->Encode("i\uFB01i", true);
  EXPECT_THAT(ligature->ids, ElementsAre(1, 3, 2, 3, 3));
  EXPECT_THAT(ligature->offsets,
              ElementsAre(ByteRange{0, 1}, ByteRange{0, 1}, ByteRange{1, 4},
                          ByteRange{1, 4}, ByteRange{4, 5}));
  const auto accents = (*tokenizer)->Encode("e\u0301ie\u0301", true);
  EXPECT_THAT(accents->ids, ElementsAre(5, 3, 4));
  EXPECT_THAT(accents->offsets,
              ElementsAre(ByteRange{0, 3}, ByteRange{3, 4}, ByteRange{4, 7}));
}

TEST(CharsmapTest, APieceThatEndsInsideACharacterHasAllOfIt) {
  const auto tokenizer =
      SentencepieceTokenizer::Create(ModelBytes({{"<unk>", kUnk},
                                                 {"▁", kNormal},
                                                 {"f", kNormal},
                                                 {"i", kNormal},
                                                 {"if", kNormal}},
                                                LigatureAndAccent()),
                                     {.prepend_bos = false});
  ASSERT_THAT(tokenizer, IsOk());
  const auto encoding = (*tokenizer)->Encode("i\uFB01i", true);
  EXPECT_THAT(encoding->ids, ElementsAre(1, 4, 3, 3));
  EXPECT_THAT(encoding->offsets, ElementsAre(ByteRange{0, 1}, ByteRange{0, 4},
                                             ByteRange{1, 4}, ByteRange{4, 5}));
}

}  // namespace
}  // namespace drover
