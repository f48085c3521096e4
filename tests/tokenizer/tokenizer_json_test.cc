#include "model/tokenizer/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/utf8_assembler.h"
#include "nlohmann/json.hpp"
#include "tests/testing/status_matchers.h"
#include "tests/tokenizer/tokenizer_json_builder.h"

namespace drover {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// The small tokenizer with the value at `pointer` (RFC 6901) replaced.
absl::StatusOr<std::unique_ptr<Tokenizer>> ParseWith(const char* pointer,
                                                     const char* value) {
  json document = SmallTokenizerJson();
  document[json::json_pointer(pointer)] = json::parse(value);
  return ParseTokenizerJson(document.dump());
}

std::unique_ptr<Tokenizer> SmallTokenizer(const char* pointer = "/version",
                                          const char* value = R"("1.0")") {
  auto tokenizer = ParseWith(pointer, value);
  EXPECT_THAT(tokenizer, IsOk());
  return *std::move(tokenizer);
}

TEST(TokenizerJsonTest, AFileIsReadAsItSays) {
  const auto tokenizer = SmallTokenizer();
  EXPECT_EQ(tokenizer->vocab_size(), 259);
  EXPECT_EQ(tokenizer->bos_id(), std::nullopt);
  EXPECT_THAT(tokenizer->Encode("abcab<s>d", true)->ids,
              ElementsAre(257, 256, 258, 'd'));
  EXPECT_THAT(tokenizer->Encode("", true)->ids, IsEmpty());
  EXPECT_EQ(tokenizer->Piece(257), "abc");
  EXPECT_EQ(tokenizer->Piece(' '), "Ġ");
  EXPECT_EQ(tokenizer->Bytes(' '), " ");
  EXPECT_EQ(tokenizer->Bytes(0xF0), "\xF0");
}

TEST(TokenizerJsonTest, SpecialAndUnknownIds) {
  const auto tokenizer = SmallTokenizer();
  EXPECT_TRUE(tokenizer->IsSpecial(258));
  EXPECT_EQ(tokenizer->Piece(258), "<s>");
  EXPECT_EQ(tokenizer->Bytes(258), "");
  EXPECT_FALSE(tokenizer->IsSpecial(257));
  for (const int32_t id : {-1, 259, INT32_MAX}) {
    EXPECT_EQ(tokenizer->Piece(id), "");
    EXPECT_EQ(tokenizer->Bytes(id), "");
    EXPECT_FALSE(tokenizer->IsSpecial(id));
  }
}

TEST(TokenizerJsonTest, MergesMayBeStrings) {
  EXPECT_THAT(SmallTokenizer("/model/merges", R"(["a b", "ab c"])")
                  ->Encode("abc", false)
                  ->ids,
              ElementsAre(257));
}

TEST(TokenizerJsonTest, AddedTokensAreText) {
  const auto tokenizer = SmallTokenizer("/added_tokens",
                                        R"([{"id": 258, "content": "né"},
                                            {"id": 259, "content": "日本"},
                                            {"id": 260, "content": "a b"},
                                            {"id": 256, "content": "ab"},
                                            {"id": 233, "content": "é"}])");
  EXPECT_EQ(tokenizer->Bytes(258), "né");
  EXPECT_EQ(tokenizer->Bytes(259), "日本");
  EXPECT_EQ(tokenizer->Bytes(260), "a b");
  EXPECT_EQ(tokenizer->Bytes(256), "ab");
  // The piece of a byte, which characters need.
  EXPECT_EQ(tokenizer->Bytes(233), "\xE9");
  EXPECT_THAT(tokenizer->Encode("abné", true)->ids, ElementsAre(256, 258));
}

TEST(TokenizerJsonTest, TheTemplatesTokenIsBos) {
  const auto tokenizer = SmallTokenizer("/post_processor", R"({
      "type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [258]}}})");
  EXPECT_EQ(tokenizer->bos_id(), 258);
  const auto encoding = tokenizer->Encode("ab", true);
  EXPECT_THAT(encoding->ids, ElementsAre(258, 256));
  EXPECT_THAT(encoding->offsets, ElementsAre(ByteRange{0, 0}, ByteRange{0, 2}));
}

TEST(TokenizerJsonTest, TextsThatAreNotUtf8AreRefused) {
  EXPECT_THAT(
      SmallTokenizer()->Encode("a\xFF", false),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not UTF-8")));
}

struct Row {
  const char* pointer;
  const char* value;
  const char* message;
};

TEST(TokenizerJsonTest, WhatCannotBeUsedIsRefusedByItsPlace) {
  for (const Row& row : std::vector<Row>{
           {"/version", R"("2.0")", "version: \"2.0\""},
           {"/normalizer", R"({"type": "NFKC"})", "normalizer.type: \"NFKC\""},
           {"/normalizer",
            R"({"type": "Sequence", "normalizers": [{"type": "NFC"},
                                                    {"type": "Lowercase"}]})",
            "normalizer.normalizers[1].type: \"Lowercase\""},
           {"/pre_tokenizer", R"({"type": "Metaspace"})",
            "pre_tokenizer.type: \"Metaspace\""},
           {"/pre_tokenizer",
            R"({"type": "ByteLevel", "add_prefix_space": true})",
            "pre_tokenizer: add_prefix_space"},
           {"/pre_tokenizer", R"({"type": "Sequence", "pretokenizers": []})",
            "pre_tokenizer: no ByteLevel"},
           {"/pre_tokenizer",
            R"({"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": true}]})",
            "pre_tokenizer.pretokenizers[0].type: \"Digits\""},
           {"/pre_tokenizer",
            R"({"type": "Sequence", "pretokenizers": [
                {"type": "ByteLevel"}, {"type": "ByteLevel"}]})",
            "pre_tokenizer.pretokenizers[1]: nothing can be used after"},
           {"/pre_tokenizer",
            R"({"type": "Split", "behavior": "Isolated",
                "pattern": {"Regex": "\\w+"}})",
            "pre_tokenizer.pattern.Regex: the regex has \"\\\\w\""},
           {"/pre_tokenizer",
            R"({"type": "Split", "behavior": "Doubled",
                "pattern": {"String": "a"}})",
            "pre_tokenizer.behavior: \"Doubled\""},
           {"/post_processor", R"({"type": "BertProcessing"})",
            "post_processor.type: \"BertProcessing\""},
           {"/post_processor",
            R"({"type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A"}},
                           {"SpecialToken": {"id": "<s>"}}]})",
            "post_processor.single[1].SpecialToken: only one token, in front"},
           {"/post_processor",
            R"({"type": "Sequence", "processors": [
                {"type": "TemplateProcessing",
                 "single": [{"Sequence": {"id": "B"}}]}]})",
            "post_processor.processors[0].single[0].Sequence: expected the"},
           {"/decoder", R"({"type": "Metaspace"})",
            "decoder.type: \"Metaspace\""},
           {"/model/type", R"("Unigram")", "model.type: \"Unigram\""},
           {"/model/dropout", "0.1", "model.dropout"},
           {"/model/end_of_word_suffix", R"("</w>")",
            "model.end_of_word_suffix: \"</w>\""},
           {"/model/vocab", R"({"a": 0})", "model.vocab: lacks \"Ā\""},
           {"/added_tokens", R"([{"id": 300, "content": "<s>"}])",
            "added_tokens[0]: \"<s>\" has id 300, expected 258"},
       }) {
    EXPECT_THAT(ParseWith(row.pointer, row.value),
                StatusIs(absl::StatusCode::kUnimplemented,
                         AllOf(HasSubstr(row.message), Not(HasSubstr("\n")))))
        << row.pointer << " " << row.value;
  }
}

TEST(TokenizerJsonTest, WhatContradictsItselfIsRefusedByItsPlace) {
  for (const Row& row : std::vector<Row>{
           {"/version", "1", "version: expected a string"},
           {"/pre_tokenizer", "null", "pre_tokenizer: missing"},
           {"/pre_tokenizer", "[]", "pre_tokenizer: expected an object"},
           {"/pre_tokenizer/use_regex", "0",
            "pre_tokenizer.use_regex: expected true or false"},
           {"/pre_tokenizer",
            R"({"type": "Split", "behavior": "Isolated",
                "pattern": {"Regex": "(a"}})",
            "pre_tokenizer.pattern.Regex: not a usable regex: "},
           {"/decoder", "null", "decoder: missing"},
           {"/model/vocab", "[]", "model.vocab: expected an object"},
           {"/model/vocab/abc", "-1", "\"abc\": expected an id from 0"},
           {"/model/vocab/abc", "1048576", "\"abc\": expected an id from 0"},
           {"/model/vocab/abc", "256", "model.vocab: id 256 is both"},
           {"/model/merges", "{}", "model.merges: expected an array"},
           {"/model/merges/1", R"("ab")", "model.merges[1]: expected"},
           {"/model/merges/1", R"("a b c")", "model.merges[1]: expected"},
           {"/model/merges/1", R"(["a"])", "model.merges[1]: expected"},
           {"/model/merges/1", R"(["a", "x"])",
            "model.merges[1]: \"ax\" is not in the vocabulary"},
           {"/added_tokens/0/content", R"("")",
            "added_tokens[0]: an empty token"},
           {"/added_tokens/0/special", R"("yes")",
            "added_tokens[0].special: expected true or false"},
           {"/added_tokens/1", R"({"id": 259, "content": "<s>"})",
            "added_tokens[1]: \"<s>\" is there twice"},
           {"/post_processor",
            R"({"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>"}},
                           {"Sequence": {"id": "A"}}],
                "special_tokens": {"<s>": {"ids": [259]}}})",
            "post_processor: there is no token 259"},
       }) {
    EXPECT_THAT(ParseWith(row.pointer, row.value),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(row.message), Not(HasSubstr("\n")))))
        << row.pointer << " " << row.value;
  }
  for (const char* text : {"", "{", "[1]", "\xFF", "nul"}) {
    EXPECT_THAT(ParseTokenizerJson(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("")))
        << text;
  }
}

TEST(TokenizerJsonTest, DeepFilesAreRefused) {
  for (const auto& [section, list] :
       {std::pair("normalizer", "normalizers"),
        std::pair("pre_tokenizer", "pretokenizers"),
        std::pair("post_processor", "processors")}) {
    json node = json::object();
    for (int depth = 0; depth < 1000; ++depth) {
      node = {{"type", "Sequence"}, {list, json::array({node})}};
    }
    json document = SmallTokenizerJson();
    document[section] = node;
    EXPECT_THAT(ParseTokenizerJson(document.dump()),
                StatusIs(absl::StatusCode::kUnimplemented,
                         HasSubstr("too many Sequences")));
  }
}

// A character that is spread over tokens comes with the last of them.
TEST(TokenizerJsonTest, CharactersInPartsAreDecodedAsTheyGetComplete) {
  const auto tokenizer = SmallTokenizer();
  const auto encoding = tokenizer->Encode("é🦙ab", true);
  EXPECT_THAT(encoding->ids,
              ElementsAre(0xC3, 0xA9, 0xF0, 0x9F, 0xA6, 0x99, 256));
  EXPECT_THAT(encoding->offsets,
              ElementsAre(ByteRange{0, 2}, ByteRange{0, 2}, ByteRange{2, 6},
                          ByteRange{2, 6}, ByteRange{2, 6}, ByteRange{2, 6},
                          ByteRange{6, 8}));
  Utf8Assembler assembler;
  std::vector<std::string> texts;
  for (const int32_t id : encoding->ids) {
    texts.push_back(assembler.Push(tokenizer->Bytes(id)));
  }
  EXPECT_THAT(texts, ElementsAre("", "é", "", "", "", "🦙", "ab"));
}

}  // namespace
}  // namespace drover
