#pragma once

#include "nlohmann/json.hpp"

namespace drover {

// A small config.json of each family, to be changed by tests.

inline nlohmann::json LlamaJson() {
  return nlohmann::json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 176,
    "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
    "hidden_act": "silu", "eos_token_id": 2, "torch_dtype": "float16"})");
}

inline nlohmann::json MistralJson() {
  nlohmann::json config = LlamaJson();
  config.update(nlohmann::json::parse(R"({
    "architectures": ["MistralForCausalLM"], "model_type": "mistral",
    "num_key_value_heads": 2, "sliding_window": 48})"));
  return config;
}

inline nlohmann::json Qwen2Json() {
  nlohmann::json config = LlamaJson();
  config.update(nlohmann::json::parse(R"({
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
    "num_key_value_heads": 2, "sliding_window": 48,
    "use_sliding_window": false, "max_window_layers": 28})"));
  return config;
}

}  // namespace drover
