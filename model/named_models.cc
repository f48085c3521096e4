#include "base/strings.h"
#include "model/model_config.h"

namespace drover {
namespace {

// The published shapes, by the sizes that tell them apart.
struct NamedShape {
  std::string_view name;
  int64_t vocab_size;
  int64_t hidden_size;
  int64_t intermediate_size;
  int64_t num_layers;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t max_position_embeddings;
  bool is_llama31;
};

constexpr NamedShape kShapes[] = {
    {"llama-2-7b", 32000, 4096, 11008, 32, 32, 32, 4096, false},
    {"llama-2-13b", 32000, 5120, 13824, 40, 40, 40, 4096, false},
    {"llama-2-70b", 32000, 8192, 28672, 80, 64, 8, 4096, false},
    {"llama-3.1-8b", 128256, 4096, 14336, 32, 32, 8, 131072, true},
    {"llama-3.1-70b", 128256, 8192, 28672, 80, 64, 8, 131072, true},
    {"llama-1.1b", 32000, 2048, 5632, 22, 32, 4, 2048, false},
};

RopeConfig Llama31Rope() {
  RopeConfig rope;
  rope.type = RopeConfig::Type::kLlama3;
  rope.theta = 500000.0;
  rope.factor = 8.0;
  rope.original_max_position_embeddings = 8192;
  rope.low_freq_factor = 1.0;
  rope.high_freq_factor = 4.0;
  return rope;
}

ModelConfig ToConfig(const NamedShape& shape) {
  ModelConfig config;
  config.model_type = "llama";
  config.vocab_size = shape.vocab_size;
  config.hidden_size = shape.hidden_size;
  config.intermediate_size = shape.intermediate_size;
  config.num_layers = shape.num_layers;
  config.num_heads = shape.num_heads;
  config.num_kv_heads = shape.num_kv_heads;
  config.head_dim = shape.hidden_size / shape.num_heads;
  config.max_position_embeddings = shape.max_position_embeddings;
  config.rms_norm_eps = 1e-5;
  if (shape.is_llama31) config.rope = Llama31Rope();
  config.dtype = DType::kBFloat16;
  config.eos_ids = {shape.is_llama31 ? 128001 : 2};
  config.pad_id = config.eos_ids.front();
  return config;
}

}  // namespace

absl::StatusOr<ModelConfig> NamedModelConfig(std::string_view name) {
  std::string known;
  for (const NamedShape& shape : kShapes) {
    if (shape.name == name) return ToConfig(shape);
    known += StrCat(known.empty() ? "" : ", ", shape.name);
  }
  return absl::NotFoundError(
      StrCat("no model is named ", Quoted(name), ", expected one of ", known));
}

}  // namespace drover
