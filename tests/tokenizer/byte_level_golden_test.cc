#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "base/read_file.h"
#include "model/tokenizer/tokenizer_json.h"
#include "model/tokenizer/utf8_assembler.h"
#include "nlohmann/json.hpp"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using nlohmann::json;

// One tokenizer.json and what Hugging Face's tokenizers make of texts with it.
struct Golden {
  const char* name;
  size_t num_cases;  // so that a file cannot lose them
};

void PrintTo(const Golden& golden, std::ostream* out) { *out << golden.name; }

std::string PathOf(const std::string& name) {
  return std::string(DROVER_SOURCE_DIR) + "/tests/testdata/tokenizers/" + name;
}

class ByteLevelGoldenTest : public ::testing::TestWithParam<Golden> {
 protected:
  void SetUp() override {
    const std::string name = GetParam().name;
    const auto text =
        ReadFile(PathOf(name + "_tokenizer.json"), int64_t{1} << 20);
    ASSERT_THAT(text, IsOk());
    auto tokenizer = ParseTokenizerJson(*text);
    ASSERT_THAT(tokenizer, IsOk());
    tokenizer_ = *std::move(tokenizer);
    std::ifstream file(PathOf("golden_" + name + ".json"));
    const json golden = json::parse(file);
    cases_.assign(golden["cases"].begin(), golden["cases"].end());
    ASSERT_EQ(cases_.size(), GetParam().num_cases);
  }

  std::string Decode(const std::vector<int32_t>& ids) const {
    Utf8Assembler assembler;
    std::string text;
    for (const int32_t id : ids) text += assembler.Push(tokenizer_->Bytes(id));
    return text;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<json> cases_;
};

// Where each character begins; the text's size behind the last one.
std::vector<uint32_t> CharacterStarts(std::string_view text) {
  std::vector<uint32_t> starts;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!IsContinuationByte(text[i])) {
      starts.push_back(static_cast<uint32_t>(i));
    }
  }
  starts.push_back(static_cast<uint32_t>(text.size()));
  return starts;
}

TEST_P(ByteLevelGoldenTest, IdsAndPiecesAreTheGoldenOnes) {
  for (const json& item : cases_) {
    SCOPED_TRACE(item["text"].dump());
    const auto encoding =
        tokenizer_->Encode(item["text"].get<std::string>(), false);
    ASSERT_THAT(encoding, IsOk());
    EXPECT_EQ(encoding->ids, item["ids"].get<std::vector<int32_t>>());
    EXPECT_TRUE(encoding->offsets.empty());
    std::vector<std::string> pieces;
    for (const int32_t id : encoding->ids) {
      pieces.push_back(tokenizer_->Piece(id));
    }
    EXPECT_EQ(pieces, item["tokens"].get<std::vector<std::string>>());
  }
}

TEST_P(ByteLevelGoldenTest, OffsetsAreTheGoldenOnesInBytes) {
  for (const json& item : cases_) {
    SCOPED_TRACE(item["text"].dump());
    const std::string text = item["text"];
    const std::vector<uint32_t> starts = CharacterStarts(text);
    std::vector<ByteRange> expected;
    for (const json& range : item["offsets"]) {
      expected.push_back({starts.at(range[0]), starts.at(range[1])});
    }
    const auto encoding = tokenizer_->Encode(text, true);
    ASSERT_THAT(encoding, IsOk());
    EXPECT_EQ(encoding->ids, item["ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(encoding->offsets, expected);
  }
}

TEST_P(ByteLevelGoldenTest, BytesGiveTheGoldenTextBack) {
  for (const json& item : cases_) {
    EXPECT_EQ(Decode(item["ids"].get<std::vector<int32_t>>()),
              item["decoded"].get<std::string>())
        << item["text"].dump();
  }
}

// What takes a step for each pair of characters would take minutes.
TEST_P(ByteLevelGoldenTest, LongTextsOfOneKindAreNoTrouble) {
  for (const std::string unit :
       {" ", "a", "A", "Aa", "é", "日", "\u0301\u0323", "\u1112\u1161", "1",
        "<|", " \n x", "\r\n", "'s", "<s>", "\u3000", "\xF0\x9F\xA6\x99"}) {
    std::string text;
    for (int i = 0; i < 1 << 17; ++i) text += unit;
    const auto encoding = tokenizer_->Encode(text + "x", true);
    ASSERT_THAT(encoding, IsOk()) << unit;
    EXPECT_EQ(encoding->offsets.back().end, text.size() + 1) << unit;
    EXPECT_TRUE(Decode(encoding->ids).ends_with("x")) << unit;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Tokenizers, ByteLevelGoldenTest,
    ::testing::Values(Golden{"llama3_style", 73}, Golden{"qwen_style", 373},
                      Golden{"nemo_style", 373}, Golden{"added_flags", 70},
                      Golden{"split_behaviors", 27}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace drover
