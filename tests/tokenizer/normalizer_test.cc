#include "model/tokenizer/normalizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/utf8_assembler.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string Utf8(const icu::UnicodeString& text) {
  std::string bytes;
  return text.toUTF8String(bytes);
}

// ICU's own normalisation, which does not say where characters came from.
std::string Expected(const icu::UnicodeString& text) {
  UErrorCode error = U_ZERO_ERROR;
  static const auto* known = new icu::UnicodeSet(u"[:age=9.0:]", error);
  const icu::FilteredNormalizer2 nfc(*icu::Normalizer2::getNFCInstance(error),
                                     *known);
  icu::UnicodeString normalized;
  return Utf8(nfc.normalize(text, normalized, error));
}

void ExpectAsIcuDoes(const icu::UnicodeString& text) {
  const std::string bytes = Utf8(text);
  const NormalizedText normalized = ToNfc(bytes);
  ASSERT_EQ(normalized.text, Expected(text));
  ASSERT_TRUE(normalized.text == bytes || !IsSurelyNfc(bytes));
  ASSERT_EQ(normalized.origins.size(), normalized.text.size());
  for (const auto& [begin, end] : normalized.origins) {
    ASSERT_LT(begin, end);
    ASSERT_LE(end, bytes.size());
    ASSERT_TRUE(IsValidUtf8(bytes.substr(begin, end - begin)));
  }
}

TEST(NormalizerTest, EveryCharacterIsNormalisedAsIcuDoes) {
  for (UChar32 c = 0; c <= 0x10FFFF; ++c) {
    if (U_IS_SURROGATE(c)) continue;
    ASSERT_NO_FATAL_FAILURE(ExpectAsIcuDoes(icu::UnicodeString(c))) << c;
  }
}

// Characters that do something: marks of many classes, letters they compose
// with, Hangul, and what decomposes.
UChar32 RandomCharacter(std::mt19937_64& random) {
  constexpr UChar32 kFrom[] = {'A',     0xC0,    0x1E00, 0x0300, 0x0300, 0x0320,
                               0x0591,  0x0915,  0x093C, 0x09BE, 0x1100, 0x1161,
                               0x11A8,  0xAC00,  0xF900, 0x2126, 0x3041, 0x3099,
                               0x1D15E, 0x110A0, 0x1AB0, 0x1DF0, 0x1133B};
  return kFrom[random() % std::size(kFrom)] +
         static_cast<UChar32>(random() % 28);
}

TEST(NormalizerTest, RandomTextsAreNormalisedAsIcuDoes) {
  constexpr uint64_t kSeed = 15;
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 50000; ++round) {
    icu::UnicodeString text;
    for (uint64_t size = random() % 8; size > 0; --size) {
      text.append(RandomCharacter(random));
    }
    ASSERT_NO_FATAL_FAILURE(ExpectAsIcuDoes(text))
        << "seed " << kSeed << " round " << round;
  }
}

TEST(NormalizerTest, MostTextsAreSeenToBeNormalised) {
  for (const char* text : {"", "plain", "Où est l'été ?", "日本語のテキスト",
                           "한국어", "Привет", "🦙"}) {
    EXPECT_TRUE(IsSurelyNfc(text)) << text;
  }
  for (const char* text : {"e\u0301", "\u212b", "\u0301", "\u1112\u1161"}) {
    EXPECT_FALSE(IsSurelyNfc(text)) << text;
  }
}

// Sorting marks one by one into the others would take hours.
TEST(NormalizerTest, AMillionMarksAreNoTrouble) {
  std::string marks;
  for (int i = 0; i < 1'000'000; ++i) marks += "\u0301\u0323";
  const std::string text = ToNfc("e" + marks).text;
  EXPECT_EQ(text.size(), marks.size() + 1);  // ẹ has three bytes
  EXPECT_TRUE(text.starts_with("ẹ\u0323\u0323"));
  EXPECT_TRUE(text.ends_with("\u0301\u0301"));
}

TEST(NormalizerTest, CharactersNewerThanUnicode9StayWhereTheyAre) {
  EXPECT_EQ(ToNfc("\u1dfb\u0334").text, "\u0334\u1dfb");  // of 9.0
  EXPECT_EQ(ToNfc("\u1df6\u0334").text, "\u1df6\u0334");  // of 10.0
}

TEST(NormalizerTest, NormalisedTextsKeepTheirPlaces) {
  const NormalizedText same = ToNfc("aé");
  EXPECT_EQ(same.text, "aé");
  EXPECT_THAT(same.origins,
              ElementsAre(ByteRange{0, 1}, ByteRange{1, 3}, ByteRange{1, 3}));
  EXPECT_THAT(ToNfc("").origins, IsEmpty());
}

TEST(NormalizerTest, WhatIsComposedCameFromItsFirstCharacter) {
  const NormalizedText composed = ToNfc("e\u0301x");
  EXPECT_EQ(composed.text, "\u00e9x");
  EXPECT_THAT(composed.origins,
              ElementsAre(ByteRange{0, 1}, ByteRange{0, 1}, ByteRange{3, 4}));
}

TEST(NormalizerTest, AllThatACharacterIsDecomposedIntoCameFromIt) {
  const NormalizedText decomposed = ToNfc("a\u0958");
  EXPECT_EQ(decomposed.text, "a\u0915\u093c");
  ASSERT_EQ(decomposed.origins.size(), 7u);
  EXPECT_EQ(decomposed.origins[1], (ByteRange{1, 4}));
  EXPECT_EQ(decomposed.origins[6], (ByteRange{1, 4}));
}

}  // namespace
}  // namespace drover
