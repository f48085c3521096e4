#include "model/tokenizer/sentencepiece_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/utf8_assembler.h"
#include "nlohmann/json.hpp"
#include "tests/testing/status_matchers.h"
#include "tests/tokenizer/model_builder.h"

namespace drover {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Tokenizer& FablesTokenizer() {
  static const auto* tokenizer =
      LoadTokenizer(std::string(DROVER_SOURCE_DIR) + "/models/fables-7m")
          ->release();
  return *tokenizer;
}

std::vector<json> GoldenCases() {
  std::vector<json> cases;
  for (const char* name :
       {"golden_sentencepiece.json", "golden_sentencepiece_random.json"}) {
    std::ifstream file(std::string(DROVER_SOURCE_DIR) +
                       "/tests/testdata/tokenizers/" + name);
    const json golden = json::parse(file);
    cases.insert(cases.end(), golden["cases"].begin(), golden["cases"].end());
  }
  DROVER_CHECK(cases.size() == 85, "a golden file has lost its cases");
  return cases;
}

std::string Decode(const std::vector<int32_t>& ids) {
  Utf8Assembler assembler;
  std::string text;
  for (const int32_t id : ids) {
    text += assembler.Push(FablesTokenizer().Bytes(id));
  }
  return text;
}

TEST(SentencepieceTokenizerTest, IdsAndPiecesAreTheGoldenOnesAfterBos) {
  for (const json& item : GoldenCases()) {
    const std::string text = item["text"];
    SCOPED_TRACE(text);
    std::vector<int32_t> expected = item["ids"];
    expected.insert(expected.begin(), 1);
    const auto encoding = FablesTokenizer().Encode(text, false);
    ASSERT_THAT(encoding, IsOk());
    EXPECT_EQ(encoding->ids, expected);
    EXPECT_THAT(encoding->offsets, IsEmpty());
    std::vector<std::string> pieces;
    for (const int32_t id : encoding->ids) {
      pieces.push_back(FablesTokenizer().Piece(id));
    }
    std::vector<std::string> expected_pieces = item["pieces"];
    expected_pieces.insert(expected_pieces.begin(), "<s>");
    EXPECT_EQ(pieces, expected_pieces);
  }
}

TEST(SentencepieceTokenizerTest, BytesGiveTheTextBackAfterTheArtificialSpace) {
  for (const json& item : GoldenCases()) {
    const std::string text = item["text"];
    const std::string decoded =
        Decode(FablesTokenizer().Encode(text, false)->ids);
    EXPECT_EQ(decoded, text.empty() ? "" : " " + text);
  }
}

size_t CharacterSize(char lead) {
  const auto byte = static_cast<uint8_t>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// What the golden's own offsets become: a byte piece, or one without width,
// carries the whole character at its beginning.
ByteRange ExpectedRange(const json& item, size_t i) {
  const uint32_t begin = item["begin"][i];
  const uint32_t end = item["end"][i];
  const std::string text = item["text"];
  const std::string piece = item["pieces"][i];
  const bool is_byte = piece.size() == 6 && piece.starts_with("<0x");
  if (!is_byte && begin < end) return {begin, end};
  return {begin, begin + static_cast<uint32_t>(CharacterSize(text[begin]))};
}

TEST(SentencepieceTokenizerTest, OffsetsAreTheGoldenOnesRemapped) {
  for (const json& item : GoldenCases()) {
    const std::string text = item["text"];
    std::vector<ByteRange> expected = {{0, 0}};
    for (size_t i = 0; i < item["ids"].size(); ++i) {
      expected.push_back(ExpectedRange(item, i));
    }
    EXPECT_EQ(FablesTokenizer().Encode(text, true)->offsets, expected) << text;
  }
}

TEST(SentencepieceTokenizerTest, OffsetsAreWhatClientsKnow) {
  struct Row {
    const char* situation;
    const char* text;
    std::vector<std::string> pieces;
    std::vector<ByteRange> offsets;
  };
  for (const Row& row : std::vector<Row>{
           {"nothing but BOS", "", {"<s>"}, {{0, 0}}},
           {"the artificial space merges and adds no width",
            "The very",
            {"<s>", "▁The", "▁very"},
            {{0, 0}, {0, 3}, {3, 8}}},
           {"the artificial space stands alone before byte pieces",
            "é a",
            {"<s>", "▁", "<0xC3>", "<0xA9>", "▁a"},
            {{0, 0}, {0, 2}, {0, 2}, {0, 2}, {2, 4}}},
           {"a newline first",
            "\na",
            {"<s>", "▁", "<0x0A>", "a"},
            {{0, 0}, {0, 1}, {0, 1}, {1, 2}}},
           {"two characters of byte pieces in a row",
            "🦙日",
            {"<s>", "▁", "<0xF0>", "<0x9F>", "<0xA6>", "<0x99>", "<0xE6>",
             "<0x97>", "<0xA5>"},
            {{0, 0},
             {0, 4},
             {0, 4},
             {0, 4},
             {0, 4},
             {0, 4},
             {4, 7},
             {4, 7},
             {4, 7}}},
           {"a space", " ", {"<s>", "▁", "▁"}, {{0, 0}, {0, 1}, {0, 1}}},
           {"a space before a word",
            " C",
            {"<s>", "▁", "▁C"},
            {{0, 0}, {0, 1}, {0, 2}}},
       }) {
    const auto encoding = FablesTokenizer().Encode(row.text, true);
    ASSERT_THAT(encoding, IsOk()) << row.situation;
    std::vector<std::string> pieces;
    for (const int32_t id : encoding->ids) {
      pieces.push_back(FablesTokenizer().Piece(id));
    }
    EXPECT_EQ(pieces, row.pieces) << row.situation;
    EXPECT_EQ(encoding->offsets, row.offsets) << row.situation;
  }
}

TEST(SentencepieceTokenizerTest, SpecialIdsHavePiecesButNoBytes) {
  for (const auto& [id, piece] :
       {std::pair(0, "<unk>"), std::pair(1, "<s>"), std::pair(2, "</s>")}) {
    EXPECT_TRUE(FablesTokenizer().IsSpecial(id));
    EXPECT_EQ(FablesTokenizer().Piece(id), piece);
    EXPECT_EQ(FablesTokenizer().Bytes(id), "");
  }
  EXPECT_FALSE(FablesTokenizer().IsSpecial(3));
}

TEST(SentencepieceTokenizerTest, PiecesKeepTheirLeadingSpaceAndBytesAreOne) {
  EXPECT_EQ(FablesTokenizer().Bytes(2281), " Once");
  EXPECT_EQ(FablesTokenizer().Piece(2281), "▁Once");
  EXPECT_EQ(FablesTokenizer().Bytes(13), "\n");
  EXPECT_EQ(FablesTokenizer().Bytes(3), std::string_view("\0", 1));
  EXPECT_EQ(FablesTokenizer().Bytes(3 + 0xF0), "\xF0");
}

TEST(SentencepieceTokenizerTest, UnknownIdsAreEmpty) {
  for (const int32_t id : {-1, 4096, INT32_MAX}) {
    EXPECT_EQ(FablesTokenizer().Piece(id), "");
    EXPECT_EQ(FablesTokenizer().Bytes(id), "");
    EXPECT_FALSE(FablesTokenizer().IsSpecial(id));
  }
}

TEST(SentencepieceTokenizerTest, ModelsWithoutBosOrByteFallbackWork) {
  const auto tokenizer =
      SentencepieceTokenizer::Create(ModelBytes({{"<unk>", kUnk},
                                                 {"▁", kNormal},
                                                 {"fox", kNormal},
                                                 {"f", kNormal},
                                                 {"o", kNormal},
                                                 {"x", kNormal},
                                                 {"fo", kNormal}}),
                                     {});
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_EQ((*tokenizer)->bos_id(), std::nullopt);
  const auto encoding = (*tokenizer)->Encode("foxé", true);
  EXPECT_THAT(encoding->ids, ElementsAre(1, 2, 0));
  EXPECT_THAT(encoding->offsets,
              ElementsAre(ByteRange{0, 1}, ByteRange{0, 3}, ByteRange{3, 5}));
}

TEST(SentencepieceTokenizerTest, PiecesThatAreNotUtf8AreRefused) {
  EXPECT_THAT(SentencepieceTokenizer::Create(
                  ModelBytes({{"<unk>", kUnk}, {"a\xFF", kNormal}}), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("piece 1 is not UTF-8")));
}

TEST(SentencepieceTokenizerTest, WhatTheLibrarySaysOfThemIsMadeUtf8) {
  EXPECT_THAT(
      SentencepieceTokenizer::Create(
          ModelBytes({{"<unk>", kUnk}, {"a\xFF", kNormal}, {"a\xFF", kNormal}}),
          {}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a\\xff")));
}

TEST(SentencepieceTokenizerTest, WhatIsNotUtf8IsRefused) {
  EXPECT_THAT(
      FablesTokenizer().Encode("a\xE6\x97", false),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not UTF-8")));
}

}  // namespace
}  // namespace drover
