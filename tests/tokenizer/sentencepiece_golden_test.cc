#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/read_file.h"
#include "model/tokenizer/tokenizer.h"
#include "nlohmann/json.hpp"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using nlohmann::json;

std::string FileOfTree(const std::string& path) {
  return *ReadFile(std::string(DROVER_SOURCE_DIR) + "/" + path, 1 << 20);
}

// Special tokens that are written in a text, as
// tests/testdata/make_sentencepiece_goldens.py had them from transformers.
TEST(SentencepieceGoldenTest, SpecialTokensInATextAreTransformersOnes) {
  const json golden = json::parse(
      FileOfTree("tests/testdata/tokenizers/golden_special_tokens.json"));
  ASSERT_EQ(golden["configs"].size(), 4u);
  for (const json& config : golden["configs"]) {
    SCOPED_TRACE(std::string(config["name"]));
    const TempDir folder;
    folder.Write("tokenizer.model",
                 FileOfTree("models/fables-7m/tokenizer.model"));
    folder.Write("tokenizer_config.json", config["tokenizer_config"].dump());
    const auto tokenizer = LoadTokenizer(folder.path());
    ASSERT_THAT(tokenizer, IsOk());
    for (const json& item : config["cases"]) {
      const std::string text = item["text"];
      SCOPED_TRACE(text);
      const auto encoding = (*tokenizer)->Encode(text, true);
      ASSERT_THAT(encoding, IsOk());
      EXPECT_EQ(encoding->ids, item["ids"].get<std::vector<int32_t>>());
      std::vector<ByteRange> offsets;
      for (const json& range : item["offsets"]) {
        offsets.push_back({range[0], range[1]});
      }
      EXPECT_EQ(encoding->offsets, offsets);
    }
  }
}

}  // namespace
}  // namespace drover
