#include "model/model_config.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "model/expected_tensors.h"
#include "nlohmann/json.hpp"
#include "tests/model/config_builder.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

absl::StatusOr<ModelConfig> LoadText(const std::string& text) {
  const TempDir dir;
  dir.Write("config.json", text);
  return LoadModelConfig(dir.path());
}

// `config` with the fields of `patch` in place of its own.
absl::StatusOr<ModelConfig> LoadPatched(json config, const char* patch) {
  config.update(json::parse(patch));
  return LoadText(config.dump());
}

TEST(ModelConfigTest, OldDialectIsRead) {
  const auto config = LoadPatched(LlamaJson(), R"({
    "rope_theta": 500000.0, "num_key_value_heads": 2,
    "rope_scaling": {"type": "linear", "factor": 4.0}})");
  ASSERT_THAT(config, IsOk());
  ModelConfig expected;
  expected.model_type = "llama";
  expected.vocab_size = 320;
  expected.hidden_size = 64;
  expected.intermediate_size = 176;
  expected.num_layers = 3;
  expected.num_heads = 4;
  expected.num_kv_heads = 2;
  expected.head_dim = 16;
  expected.max_position_embeddings = 512;
  expected.rms_norm_eps = 1e-5;
  expected.rope.type = RopeConfig::Type::kLinear;
  expected.rope.theta = 500000.0;
  expected.rope.factor = 4.0;
  expected.dtype = DType::kFloat16;
  expected.eos_ids = {2};
  expected.pad_id = 2;
  EXPECT_EQ(*config, expected);
}

TEST(ModelConfigTest, BothDialectsGiveTheSameConfig) {
  const auto old_dialect = LoadPatched(LlamaJson(), R"({
    "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3",
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256}})");
  json new_json = LlamaJson();
  new_json.erase("torch_dtype");
  const auto new_dialect = LoadPatched(new_json, R"({
    "dtype": "float16", "rope_parameters": {"rope_theta": 500000.0,
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 256}})");
  ASSERT_THAT(old_dialect, IsOk());
  ASSERT_THAT(new_dialect, IsOk());
  EXPECT_EQ(*old_dialect, *new_dialect);
  EXPECT_EQ(old_dialect->rope.type, RopeConfig::Type::kLlama3);
  EXPECT_EQ(old_dialect->rope.original_max_position_embeddings, 256);
}

TEST(ModelConfigTest, TheOlderScalingWinsUnlessItIsEmpty) {
  const auto both = LoadPatched(LlamaJson(), R"({
    "rope_theta": 30000.0, "rope_scaling": {"type": "linear", "factor": 2.0},
    "rope_parameters": {"rope_theta": 90000.0, "rope_type": "default"}})");
  ASSERT_THAT(both, IsOk());
  EXPECT_EQ(both->rope.type, RopeConfig::Type::kLinear);
  EXPECT_EQ(both->rope.theta, 30000.0);

  for (const char* empty : {"{}", "null"}) {
    json config_json = LlamaJson();
    config_json["rope_scaling"] = json::parse(empty);
    const auto config = LoadPatched(config_json, R"({
      "rope_parameters": {"rope_theta": 90000.0, "rope_type": "default"}})");
    ASSERT_THAT(config, IsOk());
    EXPECT_EQ(config->rope.theta, 90000.0);
  }
}

TEST(ModelConfigTest, AnOriginalLengthBesideTheScalingWins) {
  json config_json = LlamaJson();
  config_json["original_max_position_embeddings"] = 64;
  for (const char* patch : {
           R"({"rope_scaling": {"type": "yarn", "factor": 2}})",
           R"({"rope_scaling": {"rope_type": "yarn", "factor": 2,
               "original_max_position_embeddings": 128}})",
           R"({"rope_parameters": {"rope_type": "llama3", "factor": 8,
               "low_freq_factor": 1, "high_freq_factor": 4}})",
           R"({"rope_scaling": {"rope_type": "llama3", "factor": 8,
               "low_freq_factor": 1, "high_freq_factor": 4,
               "original_max_position_embeddings": 128}})",
       }) {
    const auto config = LoadPatched(config_json, patch);
    ASSERT_THAT(config, IsOk()) << patch;
    EXPECT_EQ(config->rope.original_max_position_embeddings, 64) << patch;
  }
}

TEST(ModelConfigTest, YarnFieldsAreReadAndDefaultFromTheModelsLength) {
  const auto brief = LoadPatched(LlamaJson(), R"({
    "rope_scaling": {"type": "yarn", "factor": 2}})");
  ASSERT_THAT(brief, IsOk());
  EXPECT_EQ(brief->rope.original_max_position_embeddings, 512);
  EXPECT_EQ(brief->rope.beta_fast, 32.0);
  EXPECT_EQ(brief->rope.attention_factor, 0.0);

  const auto full = LoadPatched(LlamaJson(), R"({
    "rope_scaling": {"rope_type": "yarn", "factor": 2, "beta_fast": 16,
    "beta_slow": 2, "attention_factor": 1.5, "mscale": 0.7,
    "mscale_all_dim": 0.8, "truncate": false,
    "original_max_position_embeddings": 128}})");
  ASSERT_THAT(full, IsOk());
  RopeConfig expected;
  expected.type = RopeConfig::Type::kYarn;
  expected.factor = 2;
  expected.original_max_position_embeddings = 128;
  expected.beta_fast = 16;
  expected.beta_slow = 2;
  expected.attention_factor = 1.5;
  expected.mscale = 0.7;
  expected.mscale_all_dim = 0.8;
  expected.truncate = false;
  EXPECT_EQ(full->rope, expected);
}

TEST(ModelConfigTest, SilenceMeansHuggingFacesDefaults) {
  json config_json = LlamaJson();
  for (const char* key : {"rms_norm_eps", "torch_dtype", "hidden_act",
                          "eos_token_id", "architectures"}) {
    config_json.erase(key);
  }
  const auto config = LoadPatched(config_json, "{}");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->rms_norm_eps, 1e-6);
  EXPECT_EQ(config->dtype, DType::kFloat32);
  EXPECT_EQ(config->num_kv_heads, 4);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->rope, RopeConfig());
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_FALSE(config->qkv_bias || config->o_bias || config->mlp_bias);
  EXPECT_EQ(config->sliding_window, 0);
  EXPECT_THAT(config->eos_ids, IsEmpty());
}

TEST(ModelConfigTest, LlamaAttentionBiasIsOnAllFourProjections) {
  const auto config =
      LoadPatched(LlamaJson(), R"({"attention_bias": true, "mlp_bias": true})");
  ASSERT_THAT(config, IsOk());
  EXPECT_TRUE(config->qkv_bias && config->o_bias && config->mlp_bias);
}

TEST(ModelConfigTest, HeadDimMayDifferFromHiddenSizeOverHeads) {
  const auto config = LoadPatched(LlamaJson(), R"({"head_dim": 32})");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->head_dim, 32);
}

TEST(ModelConfigTest, MistralsWindowMayBeNullOrLeftOut) {
  EXPECT_EQ(LoadPatched(MistralJson(), "{}")->sliding_window, 48);
  EXPECT_EQ(
      LoadPatched(MistralJson(), R"({"sliding_window": null})")->sliding_window,
      0);
  json silent = MistralJson();
  silent.erase("sliding_window");
  EXPECT_EQ(LoadPatched(silent, "{}")->sliding_window, 4096);
}

TEST(ModelConfigTest, Qwen2HasQkvBiasOnly) {
  const auto config = LoadPatched(Qwen2Json(), "{}");
  ASSERT_THAT(config, IsOk());
  EXPECT_TRUE(config->qkv_bias);
  EXPECT_FALSE(config->o_bias || config->mlp_bias);
}

TEST(ModelConfigTest, Qwen2WindowIsTakenWhereAllLayersAreAlike) {
  struct Row {
    const char* situation;
    const char* patch;
    int64_t window;
  };
  for (const Row& row : std::vector<Row>{
           {"not used", "{}", 0},
           {"used, but from a layer on that is not there",
            R"({"use_sliding_window": true})", 0},
           {"used in all layers",
            R"({"use_sliding_window": true, "max_window_layers": 0})", 48},
           {"used, of no size",
            R"({"use_sliding_window": true, "sliding_window": null,
                "max_window_layers": 0})",
            0},
           {"the layers' own kinds count more",
            R"({"use_sliding_window": true, "max_window_layers": 0,
                "layer_types": ["full_attention", "full_attention",
                                "full_attention"]})",
            0},
       }) {
    const auto config = LoadPatched(Qwen2Json(), row.patch);
    ASSERT_THAT(config, IsOk()) << row.situation;
    EXPECT_EQ(config->sliding_window, row.window) << row.situation;
  }
  EXPECT_THAT(LoadPatched(Qwen2Json(), R"({"use_sliding_window": true,
                                           "max_window_layers": 2})"),
              StatusIs(kInvalid, HasSubstr("in 1 of 3 layers")));
}

TEST(ModelConfigTest, GenerationConfigsEosIdsWin) {
  const TempDir dir;
  dir.Write("config.json", LlamaJson().dump());
  dir.Write("generation_config.json", R"({"eos_token_id": [9, 5, 9]})");
  EXPECT_THAT(LoadModelConfig(dir.path())->eos_ids, ElementsAre(5, 9));
  dir.Write("generation_config.json", R"({"eos_token_id": 7})");
  EXPECT_THAT(LoadModelConfig(dir.path())->eos_ids, ElementsAre(7));
  dir.Write("generation_config.json", R"({"temperature": 0.5})");
  EXPECT_THAT(LoadModelConfig(dir.path())->eos_ids, ElementsAre(2));
  dir.Write("generation_config.json", R"({"eos_token_id": "</s>"})");
  EXPECT_THAT(LoadModelConfig(dir.path()),
              StatusIs(kInvalid, AllOf(HasSubstr("generation_config.json"),
                                       HasSubstr("eos_token_id"))));
}

TEST(ModelConfigTest, WithoutAPadTokenTheFirstEosStandsForIt) {
  const auto pad_id = [](const char* patch) {
    const auto config = LoadPatched(LlamaJson(), patch);
    EXPECT_THAT(config, IsOk()) << patch;
    return config.ok() ? config->pad_id : -1;
  };
  EXPECT_EQ(pad_id(R"({"pad_token_id": 7})"), 7);
  EXPECT_EQ(pad_id(R"({"pad_token_id": null})"), 2);
  EXPECT_EQ(pad_id(R"({"pad_token_id": -1})"), 2);
  EXPECT_EQ(pad_id(R"({"pad_token_id": 320})"), 2) << "no id of its";
  EXPECT_EQ(pad_id(R"({"eos_token_id": [9, 5]})"), 5);
  EXPECT_EQ(pad_id(R"({"eos_token_id": null})"), 0);
}

struct Refusal {
  const char* situation;
  const char* patch;  // on a config that is fine without it
  const char* message;
};

TEST(ModelConfigTest, WhatCannotRunIsRefusedByName) {
  for (const Refusal& row : std::vector<Refusal>{
           {"another model type", R"({"model_type": "gpt_neox"})",
            "\"gpt_neox\" cannot be run"},
           {"another head",
            R"({"architectures": ["LlamaForTokenClassification"]})",
            "LlamaForTokenClassification"},
           {"quantized", R"({"quantization_config": {"quant_method": "gptq"}})",
            "quantization_config: quantized checkpoints cannot be run "
            "(\"gptq\")"},
           {"compressed", R"({"compression_config": {}})",
            "compression_config: quantized checkpoints cannot be run"},
           {"mixture of experts", R"({"num_local_experts": 8})",
            "num_local_experts: a mixture of experts"},
           {"mixture, as Qwen says", R"({"num_experts": 2})",
            "num_experts: a mixture of experts"},
           {"mixture, as DeepSeek says", R"({"n_routed_experts": 64})",
            "n_routed_experts: a mixture of experts"},
           {"another activation", R"({"hidden_act": "gelu"})",
            "hidden_act: \"gelu\""},
           {"dynamic rope", R"({"rope_scaling": {"type": "dynamic",
                                                 "factor": 2.0}})",
            "rope_scaling: rope_type: \"dynamic\" cannot be run"},
           {"longrope", R"({"rope_parameters": {"rope_type": "longrope"}})",
            "rope_parameters: rope_type: \"longrope\" cannot be run"},
           {"su", R"({"rope_scaling": {"type": "su"}})", "\"su\""},
           {"half rotated", R"({"partial_rotary_factor": 0.5})",
            "partial_rotary_factor: 0.5"},
           {"a rotation per kind of layer",
            R"({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}})",
            "rope_parameters: a rotation of its own"},
           {"another dtype", R"({"torch_dtype": "float64"})",
            "torch_dtype: \"float64\", expected float32, float16 or "
            "bfloat16"},
       }) {
    EXPECT_THAT(LoadPatched(LlamaJson(), row.patch),
                StatusIs(kInvalid, AllOf(HasSubstr("config.json: "),
                                         HasSubstr(row.message))))
        << row.situation;
  }
}

TEST(ModelConfigTest, WrongValuesAreRefusedWithFieldAndValue) {
  for (const Refusal& row : std::vector<Refusal>{
           {"negative", R"({"hidden_size": -64})", "hidden_size: -64"},
           {"zero", R"({"num_hidden_layers": 0})", "num_hidden_layers: 0"},
           {"fraction", R"({"vocab_size": 320.5})", "vocab_size: 320.5"},
           {"text", R"({"vocab_size": "320"})", "vocab_size: \"320\""},
           {"beyond 2^31", R"({"max_position_embeddings": 2147483648})",
            "max_position_embeddings: 2147483648"},
           {"beyond 64 bits", R"({"hidden_size": 1e300})", "hidden_size"},
           {"kv heads that do not divide", R"({"num_key_value_heads": 3})",
            "num_key_value_heads: 3 does not divide num_attention_heads (4)"},
           {"heads that do not divide", R"({"num_attention_heads": 3})",
            "num_attention_heads: 3 does not divide hidden_size (64)"},
           {"odd head_dim", R"({"head_dim": 17})", "head_dim: 17"},
           {"negative epsilon", R"({"rms_norm_eps": -1e-5})", "rms_norm_eps"},
           {"theta is no number", R"({"rope_theta": true})", "rope_theta"},
           {"yarn without a ramp", R"({"rope_theta": 1.0, "rope_scaling": {
                "rope_type": "yarn", "factor": 2.0}})",
            "rope_theta: 1, expected above 1"},
           {"scaling is no object", R"({"rope_scaling": 4})",
            "rope_scaling: 4, expected an object"},
           {"scaling without factor", R"({"rope_scaling": {"type": "linear"}})",
            "rope_scaling: factor: missing"},
           {"llama3 with frequencies the wrong way round",
            R"({"rope_scaling": {"rope_type": "llama3", "factor": 8,
                "low_freq_factor": 4, "high_freq_factor": 1,
                "original_max_position_embeddings": 256}})",
            "high_freq_factor: 1, expected more"},
           {"bool is no bool", R"({"tie_word_embeddings": 1})",
            "tie_word_embeddings: 1"},
           {"eos beyond the vocabulary", R"({"eos_token_id": 320})",
            "eos_token_id: 320"},
           {"negative eos", R"({"eos_token_id": [2, -1]})", "eos_token_id: -1"},
       }) {
    EXPECT_THAT(
        LoadPatched(LlamaJson(), row.patch),
        StatusIs(kInvalid, AllOf(HasSubstr("config.json: "),
                                 HasSubstr(row.message), Not(HasSubstr("\n")))))
        << row.situation;
  }
}

TEST(ModelConfigTest, EveryMissingFieldIsNamed) {
  for (const char* key :
       {"model_type", "vocab_size", "hidden_size", "intermediate_size",
        "num_hidden_layers", "num_attention_heads"}) {
    json config = LlamaJson();
    config.erase(key);
    EXPECT_THAT(LoadText(config.dump()),
                StatusIs(kInvalid, HasSubstr(std::string("config.json: ") +
                                             key + ": missing")));
  }
}

TEST(ModelConfigTest, AContextThatIsNotSaidIsThatOfTgis) {
  json config = LlamaJson();
  config.erase("max_position_embeddings");
  const auto loaded = LoadText(config.dump());
  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(loaded->max_position_embeddings, 2048);
}

TEST(ModelConfigTest, FilesThatAreNoConfigAreRefused) {
  EXPECT_THAT(LoadText("{\"model_type\": "),
              StatusIs(kInvalid, HasSubstr("config.json: not valid JSON")));
  EXPECT_THAT(LoadText("[1]"), StatusIs(kInvalid, HasSubstr("an object")));
  EXPECT_THAT(LoadText(R"({"vocab_size": 1, "vocab_size": 2})"),
              StatusIs(kInvalid, HasSubstr("\"vocab_size\" occurs twice")));
  EXPECT_THAT(LoadText(std::string((1 << 20) + 1, ' ')),
              StatusIs(kInvalid, HasSubstr("at most 1048576")));
  EXPECT_THAT(LoadText("version https://git-lfs.github.com/spec/v1\n"),
              StatusIs(kInvalid, HasSubstr("git-lfs pointer")));
  const TempDir empty;
  EXPECT_THAT(LoadModelConfig(empty.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
}

TEST(ModelConfigTest, ParametersAreTheSumOfTheExpectedTensors) {
  for (const json& base : {LlamaJson(), MistralJson(), Qwen2Json()}) {
    for (const char* patch :
         {"{}", R"({"tie_word_embeddings": true})",
          R"({"attention_bias": true, "mlp_bias": true, "head_dim": 24})"}) {
      const auto config = LoadPatched(base, patch);
      ASSERT_THAT(config, IsOk());
      int64_t sum = 0;
      for (const TensorSpec& spec : ExpectedTensors(*config)) {
        sum += std::accumulate(spec.shape.begin(), spec.shape.end(), int64_t{1},
                               std::multiplies<>());
      }
      EXPECT_EQ(config->num_parameters(), sum) << base << patch;
    }
  }
}

TEST(ModelConfigTest, NamedModelsHaveTheirPublishedParameterCounts) {
  struct Row {
    const char* name;
    int64_t num_parameters;
    int64_t kv_bytes_per_token;  // bf16
  };
  for (const Row& row : std::vector<Row>{
           {"llama-2-7b", 6738415616, 524288},
           {"llama-2-13b", 13015864320, 819200},
           {"llama-2-70b", 68976648192, 327680},
           {"llama-3.1-8b", 8030261248, 131072},
           {"llama-3.1-70b", 70553706496, 327680},
           {"llama-1.1b", 1100048384, 22528},
       }) {
    const auto config = NamedModelConfig(row.name);
    ASSERT_THAT(config, IsOk());
    EXPECT_EQ(config->num_parameters(), row.num_parameters) << row.name;
    EXPECT_EQ(config->kv_bytes_per_token(DType::kBFloat16),
              row.kv_bytes_per_token);
  }
  EXPECT_THAT(NamedModelConfig("llama-9"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("\"llama-9\", expected one of llama-2-7b")));
}

TEST(DTypeTest, NamesRoundTrip) {
  for (const DType dtype :
       {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    EXPECT_EQ(*ParseDType(DTypeName(dtype)), dtype);
  }
  EXPECT_THAT(ParseDType("int8"), StatusIs(kInvalid, HasSubstr("\"int8\"")));
  EXPECT_THAT(ParseDType("\xff"), StatusIs(kInvalid, HasSubstr("expected")));
}

}  // namespace
}  // namespace drover
