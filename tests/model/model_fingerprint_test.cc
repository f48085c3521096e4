#include <gtest/gtest.h>

#include <string>

#include "model/model_config.h"
#include "tests/model/safetensors_builder.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

// A folder with the files that count, written anew for every change.
class ModelFingerprintTest : public testing::Test {
 protected:
  ModelFingerprintTest() {
    dir_.Write("config.json", "{}");
    dir_.Write("generation_config.json", "{}");
    dir_.Write("model.safetensors", SafetensorsBytes("{}", ""));
  }

  std::string Fingerprint() const { return *ModelFingerprint(dir_.path()); }

  TempDir dir_;
};

TEST_F(ModelFingerprintTest, IsSixteenDigitsThatStayTheSame) {
  EXPECT_THAT(Fingerprint(), MatchesRegex("[0-9a-f]{16}"));
  EXPECT_EQ(Fingerprint(), Fingerprint());
}

TEST_F(ModelFingerprintTest, DoesNotDependOnTheFolder) {
  const std::string here = Fingerprint();
  const TempDir there;
  there.Write("config.json", "{}");
  there.Write("generation_config.json", "{}");
  there.Write("model.safetensors", SafetensorsBytes("{}", ""));
  there.Write("README.md", "does not count");
  EXPECT_EQ(*ModelFingerprint(there.path()), here);
}

TEST_F(ModelFingerprintTest, ChangesWithEveryFileThatCounts) {
  const std::string before = Fingerprint();
  dir_.Write("config.json", "{ }");
  const std::string config = Fingerprint();
  EXPECT_NE(config, before);
  dir_.Write("generation_config.json", "{ }");
  const std::string generation = Fingerprint();
  EXPECT_NE(generation, config);
  dir_.Write("model.safetensors", SafetensorsBytes("{} ", ""));
  EXPECT_NE(Fingerprint(), generation);
}

TEST_F(ModelFingerprintTest, TextCannotMoveFromOneFileToTheNext) {
  dir_.Write("config.json", "{}{}");
  dir_.Write("generation_config.json", "");
  const std::string moved = Fingerprint();
  dir_.Write("config.json", "{}");
  dir_.Write("generation_config.json", "{}");
  EXPECT_NE(Fingerprint(), moved);
}

TEST_F(ModelFingerprintTest, MissingFilesAreNamed) {
  const TempDir empty;
  EXPECT_THAT(ModelFingerprint(empty.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
  empty.Write("config.json", "{}");
  EXPECT_THAT(
      ModelFingerprint(empty.path()),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("model.safetensors")));
}

TEST(ConfigFingerprintTest, ChangesWithEveryField) {
  const ModelConfig base = *NamedModelConfig("llama-1.1b");
  EXPECT_EQ(ModelFingerprint(base),
            ModelFingerprint(*NamedModelConfig("llama-1.1b")));
  const auto differs = [&](auto change) {
    ModelConfig changed = base;
    change(changed);
    return ModelFingerprint(changed) != ModelFingerprint(base);
  };
  EXPECT_TRUE(differs([](auto& c) { c.model_type = "mistral"; }));
  EXPECT_TRUE(differs([](auto& c) { c.vocab_size++; }));
  EXPECT_TRUE(differs([](auto& c) { c.hidden_size++; }));
  EXPECT_TRUE(differs([](auto& c) { c.intermediate_size++; }));
  EXPECT_TRUE(differs([](auto& c) { c.num_layers++; }));
  EXPECT_TRUE(differs([](auto& c) { c.num_heads++; }));
  EXPECT_TRUE(differs([](auto& c) { c.num_kv_heads++; }));
  EXPECT_TRUE(differs([](auto& c) { c.head_dim++; }));
  EXPECT_TRUE(differs([](auto& c) { c.max_position_embeddings++; }));
  EXPECT_TRUE(differs([](auto& c) { c.rms_norm_eps *= 1.5; }));
  EXPECT_TRUE(differs([](auto& c) { c.tie_word_embeddings = true; }));
  EXPECT_TRUE(differs([](auto& c) { c.qkv_bias = true; }));
  EXPECT_TRUE(differs([](auto& c) { c.o_bias = true; }));
  EXPECT_TRUE(differs([](auto& c) { c.mlp_bias = true; }));
  EXPECT_TRUE(differs([](auto& c) { c.sliding_window = 48; }));
  EXPECT_TRUE(differs([](auto& c) { c.dtype = DType::kFloat16; }));
  EXPECT_TRUE(differs([](auto& c) { c.eos_ids = {2, 3}; }));
  EXPECT_TRUE(
      differs([](auto& c) { c.rope.type = RopeConfig::Type::kLinear; }));
  EXPECT_TRUE(differs([](auto& c) { c.rope.theta *= 2; }));
}

}  // namespace
}  // namespace drover
