#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace drover {

enum class DType { kFloat32, kFloat16, kBFloat16 };

// "float32", "float16", "bfloat16".
std::string_view DTypeName(DType dtype);
absl::StatusOr<DType> ParseDType(std::string_view name);
int64_t DTypeBytes(DType dtype);

// Rotary position embedding, by the names Hugging Face gives its variants.
struct RopeConfig {
  enum class Type { kDefault, kLinear, kLlama3, kYarn };

  Type type = Type::kDefault;
  double theta = 10000.0;
  double factor = 1.0;                           // linear, llama3, yarn
  int64_t original_max_position_embeddings = 0;  // llama3, yarn
  double low_freq_factor = 1.0;                  // llama3
  double high_freq_factor = 4.0;                 // llama3
  double beta_fast = 32.0;                       // yarn
  double beta_slow = 1.0;                        // yarn
  double attention_factor = 0.0;                 // yarn; 0: from factor
  double mscale = 0.0;                           // yarn; 0: absent
  double mscale_all_dim = 0.0;                   // yarn; 0: absent
  bool truncate = true;                          // yarn

  bool operator==(const RopeConfig&) const = default;
};

// A Llama-family model's shape: Llama, Mistral (sliding window), Qwen2 (qkv
// bias) are one file of layers with other options. Checked: every count is
// positive and they divide where they must.
struct ModelConfig {
  std::string model_type;  // "llama", "mistral", "qwen2"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-5;
  RopeConfig rope;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  // Keys a query sees, itself included; 0: all.
  int64_t sliding_window = 0;
  DType dtype = DType::kBFloat16;  // the weights' own
  std::vector<int32_t> eos_ids;    // ascending; may be empty
  // What stands for a position without a token: the config's, else the least
  // of eos_ids, else 0.
  int32_t pad_id = 0;

  bool operator==(const ModelConfig&) const = default;

  int64_t num_parameters() const;
  // K and V of all layers.
  int64_t kv_bytes_per_token(DType dtype) const;
};

// Reads config.json and, if there, generation_config.json (whose eos ids win).
// What we cannot run is refused by name.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& model_dir);

// A shape by name, for `--load-format dummy`: "llama-2-7b", "llama-2-13b",
// "llama-2-70b", "llama-3.1-8b", "llama-3.1-70b", "llama-1.1b".
absl::StatusOr<ModelConfig> NamedModelConfig(std::string_view name);

// Identifies the model to both ends of a shard stream: config, generation
// config, and name and size of every weight file. Hexadecimal.
absl::StatusOr<std::string> ModelFingerprint(const std::string& model_dir);
std::string ModelFingerprint(const ModelConfig& config);

}  // namespace drover
