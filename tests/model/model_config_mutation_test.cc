#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "model/model_config.h"
#include "nlohmann/json.hpp"
#include "tests/model/config_builder.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using nlohmann::json;

void ExpectRunnable(const ModelConfig& config) {
  EXPECT_GT(config.num_parameters(), 0);
  EXPECT_GT(config.kv_bytes_per_token(DType::kFloat32), 0);
  EXPECT_GT(config.max_position_embeddings, 0);
  EXPECT_EQ(config.num_heads % config.num_kv_heads, 0);
  EXPECT_EQ(config.head_dim % 2, 0);
  EXPECT_GE(config.sliding_window, 0);
  EXPECT_GT(config.rope.theta, 0);
  for (const int32_t id : config.eos_ids) EXPECT_LT(id, config.vocab_size);
}

// Every field in turn becomes every kind of value: an error or a config that
// can be run, never an exception.
TEST(ModelConfigMutationTest, NoFieldCanBreakTheReader) {
  json yarn = LlamaJson();
  yarn["rope_scaling"] = json::parse(R"({"rope_type": "yarn", "factor": 2,
      "rope_theta": 1e4, "beta_fast": 3, "attention_factor": 1, "mscale": 1,
      "original_max_position_embeddings": 64, "truncate": true})");
  const json values = json::parse(R"([null, true, -1, 0, 1, 2, 3, 1e308, 0.5,
      9223372036854775807, 18446744073709551615, "", "x", [], [1], [[]],
      ["x"], {}, {"a": 1}, {"rope_type": 1}, {"quant_method": []}])");
  const std::vector<std::string> others = {"head_dim",
                                           "num_key_value_heads",
                                           "rope_theta",
                                           "rope_parameters",
                                           "rope_scaling",
                                           "layer_types",
                                           "dtype",
                                           "num_experts",
                                           "sliding_window",
                                           "quantization_config",
                                           "attention_bias",
                                           "max_window_layers",
                                           "use_sliding_window",
                                           "partial_rotary_factor"};
  const TempDir dir;
  for (const json& base : {yarn, MistralJson(), Qwen2Json()}) {
    for (const json& value : values) {
      const auto load = [&](const json& changed) {
        SCOPED_TRACE(changed.dump());
        dir.Write("config.json", changed.dump());
        const auto config = LoadModelConfig(dir.path());
        if (config.ok()) ExpectRunnable(*config);
      };
      for (const auto& [key, old] : base.items()) {
        json changed = base;
        changed[key] = value;
        load(changed);
      }
      for (const std::string& key : others) {
        json changed = base;
        changed[key] = value;
        load(changed);
      }
      for (const auto& [key, old] : yarn["rope_scaling"].items()) {
        json changed = base;
        changed["rope_scaling"] = yarn["rope_scaling"];
        changed["rope_scaling"][key] = value;
        load(changed);
      }
    }
  }
}

}  // namespace
}  // namespace drover
