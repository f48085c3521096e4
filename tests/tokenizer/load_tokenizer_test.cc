#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/read_file.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
constexpr absl::StatusCode kNotFound = absl::StatusCode::kNotFound;

std::string ModelBytes() {
  const std::string path =
      std::string(DROVER_SOURCE_DIR) + "/models/fables-7m/tokenizer.model";
  return *ReadFile(path, 1 << 20);
}

TEST(LoadTokenizerTest, TheFileIsAllThatIsNeeded) {
  const TempDir dir;
  dir.Write("tokenizer.model", ModelBytes());
  const auto tokenizer = LoadTokenizer(dir.path());
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_EQ((*tokenizer)->vocab_size(), 4096);
  EXPECT_EQ((*tokenizer)->bos_id(), 1);
}

TEST(LoadTokenizerTest, MissingFilesAreNamed) {
  const TempDir dir;
  EXPECT_THAT(
      LoadTokenizer(dir.path()),
      StatusIs(kNotFound,
               HasSubstr(dir.path() +
                         ": no tokenizer.model and no tokenizer.json")));
  EXPECT_THAT(LoadTokenizer(dir.path() + "/none"),
              StatusIs(kNotFound, HasSubstr("/none: no such folder")));
}

std::string TokenizerJson() {
  const std::string path =
      std::string(DROVER_SOURCE_DIR) +
      "/tests/testdata/tokenizers/llama3_style_tokenizer.json";
  return *ReadFile(path, 1 << 20);
}

TEST(LoadTokenizerTest, TokenizerJsonIsEnoughToo) {
  const TempDir dir;
  dir.Write("tokenizer.json", TokenizerJson());
  dir.Write("tokenizer_config.json", R"({"add_bos_token": false})");
  const auto tokenizer = LoadTokenizer(dir.path());
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_EQ((*tokenizer)->vocab_size(), 2053);
  EXPECT_EQ((*tokenizer)->bos_id(), 2048);  // its own post-processor's
}

TEST(LoadTokenizerTest, TokenizerModelCountsWhereThereAreBoth) {
  const TempDir dir;
  dir.Write("tokenizer.model", ModelBytes());
  dir.Write("tokenizer.json", "{");
  const auto tokenizer = LoadTokenizer(dir.path());
  ASSERT_THAT(tokenizer, IsOk());
  EXPECT_EQ((*tokenizer)->vocab_size(), 4096);
}

TEST(LoadTokenizerTest, WhatIsWrongWithTokenizerJsonIsSaidWithItsName) {
  const TempDir dir;
  const std::string path = dir.Write("tokenizer.json", "{");
  EXPECT_THAT(LoadTokenizer(dir.path()),
              StatusIs(kInvalid, HasSubstr(path + ": not JSON")));
  dir.Write("tokenizer.json", R"({"normalizer": {"type": "Lowercase"}})");
  EXPECT_THAT(LoadTokenizer(dir.path()),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr(path + ": normalizer.type: \"Lowercase\"")));
}

TEST(LoadTokenizerTest, WhatIsNoModelIsRefusedInOneLineThatNamesTheFile) {
  const std::string model = ModelBytes();
  struct Row {
    const char* situation;
    std::string bytes;
    const char* message;
  };
  for (const Row& row : std::vector<Row>{
           {"empty", "", "not a usable sentencepiece model"},
           {"text", "IQ== 0\nIg== 1\n", "not a usable sentencepiece model"},
           {"cut in the middle", model.substr(0, model.size() / 2),
            "not a usable sentencepiece model"},
           {"cut in the first piece", model.substr(0, 5),
            "not a usable sentencepiece model"},
           {"git-lfs pointer",
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a git-lfs pointer"},
       }) {
    const TempDir dir;
    const std::string path = dir.Write("tokenizer.model", row.bytes);
    EXPECT_THAT(
        LoadTokenizer(dir.path()),
        StatusIs(kInvalid, AllOf(HasSubstr(path + ": "), HasSubstr(row.message),
                                 Not(HasSubstr("\n")))))
        << row.situation;
  }
}

TEST(LoadTokenizerTest, TokenizerConfigDecidesOnBos) {
  const TempDir dir;
  dir.Write("tokenizer.model", ModelBytes());
  dir.Write("tokenizer_config.json", R"({"add_bos_token": false})");
  const auto without = LoadTokenizer(dir.path());
  ASSERT_THAT(without, IsOk());
  EXPECT_EQ((*without)->bos_id(), std::nullopt);
  EXPECT_THAT((*without)->Encode("Once", true)->ids, ElementsAre(2281));
  EXPECT_THAT((*without)->Encode("Once", true)->offsets,
              ElementsAre(ByteRange{0, 4}));
  EXPECT_TRUE((*without)->IsSpecial(1));

  dir.Write("tokenizer_config.json", R"({"add_bos_token": null})");
  EXPECT_THAT((*LoadTokenizer(dir.path()))->Encode("Once", false)->ids,
              ElementsAre(1, 2281));
}

TEST(LoadTokenizerTest, TokenizerConfigsThatWantTheImpossibleAreRefused) {
  const TempDir dir;
  dir.Write("tokenizer.model", ModelBytes());
  const std::string path =
      dir.Write("tokenizer_config.json", R"({"add_eos_token": true})");
  EXPECT_THAT(LoadTokenizer(dir.path()),
              StatusIs(kInvalid, HasSubstr(path + ": add_eos_token")));
  dir.Write("tokenizer_config.json", R"({"add_bos_token": "yes"})");
  EXPECT_THAT(LoadTokenizer(dir.path()),
              StatusIs(kInvalid, HasSubstr(path + ": add_bos_token")));
  dir.Write("tokenizer_config.json",
            R"({"added_tokens_decoder": {"one": {"content": "<s>"}}})");
  EXPECT_THAT(LoadTokenizer(dir.path()),
              StatusIs(kInvalid, HasSubstr(path + ": added_tokens_decoder.one: "
                                                  "expected an id")));
  dir.Write("tokenizer_config.json", R"({"added_tokens_decoder": {"1": {}}})");
  EXPECT_THAT(LoadTokenizer(dir.path()),
              StatusIs(kInvalid, HasSubstr("added_tokens_decoder.1.content")));
  dir.Write("tokenizer_config.json", "[");
  EXPECT_THAT(LoadTokenizer(dir.path()),
              StatusIs(kInvalid, HasSubstr(path + ": not a JSON object")));
}

}  // namespace
}  // namespace drover
