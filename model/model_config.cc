#include "model/model_config.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/types/span.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/json_fields.h"
#include "model/json_file.h"
#include "model/rope_fields.h"

namespace drover {
namespace {

using nlohmann::json;

constexpr int64_t kMaxConfigBytes = int64_t{1} << 20;

// Far above any model there is, and low enough that no product of them
// overflows: num_parameters() stays below 2^61.
constexpr int64_t kMaxVocabSize = int64_t{1} << 24;
constexpr int64_t kMaxHiddenSize = int64_t{1} << 20;
constexpr int64_t kMaxIntermediateSize = int64_t{1} << 22;
constexpr int64_t kMaxLayers = int64_t{1} << 12;
constexpr int64_t kMaxHeads = int64_t{1} << 14;
constexpr int64_t kMaxHeadDim = int64_t{1} << 12;
constexpr int64_t kMaxPositions = (int64_t{1} << 31) - 1;
// Where a file does not say, as TGIS has it.
constexpr int64_t kDefaultPositions = 2048;

// How the members of the family differ where config.json is silent; the
// defaults are those of Hugging Face's configuration classes.
struct Family {
  std::string_view model_type;
  std::string_view architecture;
  int64_t default_kv_heads;        // 0: as many as heads
  int64_t default_sliding_window;  // 0: none
};

constexpr Family kFamilies[] = {
    {"llama", "LlamaForCausalLM", 0, 0},
    {"mistral", "MistralForCausalLM", 8, 4096},
    {"qwen2", "Qwen2ForCausalLM", 32, 4096},
};

const Family* FindFamily(std::string_view model_type) {
  for (const Family& family : kFamilies) {
    if (family.model_type == model_type) return &family;
  }
  return nullptr;
}

void CheckArchitecture(JsonFields& fields, const Family& family) {
  const json* architectures = fields.Find("architectures");
  if (architectures == nullptr) return;
  if (!architectures->is_array() || architectures->size() != 1 ||
      (*architectures)[0] != family.architecture) {
    fields.Fail("architectures", StrCat(ShowJson(*architectures),
                                        " cannot be run, "
                                        "expected [\"",
                                        family.architecture, "\"]"));
  }
}

// What would change the forward in ways that we do not compute.
void RefuseWhatCannotRun(JsonFields& fields) {
  for (const std::string_view key :
       {"quantization_config", "compression_config"}) {
    const json* value = fields.Find(key);
    if (value == nullptr) continue;
    const json method =
        value->is_object() ? value->value("quant_method", json()) : json();
    fields.Fail(key, StrCat("quantized checkpoints cannot be run (",
                            ShowJson(method), ")"));
  }
  for (const std::string_view key :
       {"num_local_experts", "num_experts", "n_routed_experts"}) {
    // Dense models of families that have both may say 0 or 1.
    const json* count = fields.Find(key);
    const bool is_dense =
        count != nullptr && count->is_number_integer() && *count <= 1;
    if (count != nullptr && !is_dense) {
      fields.Fail(key, "a mixture of experts cannot be run");
    }
  }
  const std::string activation = fields.TextOr("hidden_act", "silu");
  if (activation != "silu") {
    fields.Fail("hidden_act",
                StrCat(ShowJson(activation), " cannot be run, expected silu"));
  }
}

// Absent: the family's default. Null: as many as heads.
int64_t ReadKvHeads(JsonFields& fields, const json& object,
                    const Family& family, int64_t num_heads) {
  const int64_t fallback =
      object.contains("num_key_value_heads") || family.default_kv_heads == 0
          ? num_heads
          : family.default_kv_heads;
  return fields.CountOr("num_key_value_heads", kMaxHeads, fallback);
}

void ReadHeads(JsonFields& fields, const json& object, const Family& family,
               ModelConfig& config) {
  config.num_heads = fields.Count("num_attention_heads", kMaxHeads);
  config.num_kv_heads = ReadKvHeads(fields, object, family, config.num_heads);
  if (config.num_heads % config.num_kv_heads != 0) {
    fields.Fail("num_key_value_heads", StrCat(config.num_kv_heads,
                                              " does not divide "
                                              "num_attention_heads (",
                                              config.num_heads, ")"));
  }
  if (!fields.Has("head_dim") && config.hidden_size % config.num_heads != 0) {
    fields.Fail("num_attention_heads",
                StrCat(config.num_heads, " does not divide hidden_size (",
                       config.hidden_size, ")"));
  }
  config.head_dim = fields.CountOr("head_dim", kMaxHeadDim,
                                   config.hidden_size / config.num_heads);
  if (config.head_dim % 2 != 0 || config.head_dim > kMaxHeadDim) {
    fields.Fail("head_dim",
                StrCat(config.head_dim, ", expected an even number up to ",
                       kMaxHeadDim));
  }
}

// Qwen2 lets the first max_window_layers layers see everything and the others
// a window; we can run it only if all layers are alike.
int64_t ReadQwen2Window(JsonFields& fields, int64_t window,
                        int64_t num_layers) {
  if (!fields.BoolOr("use_sliding_window", false)) window = 0;
  constexpr int64_t kDefaultMaxWindowLayers = 28;
  int64_t num_full = kDefaultMaxWindowLayers;
  if (const json* value = fields.Find("max_window_layers")) {
    num_full = *value == 0 ? 0 : fields.Count("max_window_layers", kMaxLayers);
  }
  if (const json* types = fields.Find("layer_types")) {
    if (!types->is_array() || std::ssize(*types) != num_layers) {
      fields.Fail("layer_types", "expected one entry for every layer");
    }
    num_full = std::count(types->begin(), types->end(), "full_attention");
  }
  num_full = std::min(num_full, num_layers);
  if (window == 0 || num_full == num_layers) return 0;
  if (num_full == 0) return window;
  fields.Fail("use_sliding_window",
              StrCat("a sliding window in ", num_layers - num_full, " of ",
                     num_layers, " layers cannot be run"));
  return 0;
}

int64_t ReadSlidingWindow(JsonFields& fields, const json& object,
                          const Family& family, int64_t num_layers) {
  if (family.default_sliding_window == 0) return 0;
  const int64_t fallback =
      object.contains("sliding_window") ? 0 : family.default_sliding_window;
  const int64_t window =
      fields.CountOr("sliding_window", kMaxPositions, fallback);
  return family.model_type == "qwen2"
             ? ReadQwen2Window(fields, window, num_layers)
             : window;
}

void ReadBiases(JsonFields& fields, const Family& family, ModelConfig& config) {
  if (family.model_type == "qwen2") {
    config.qkv_bias = true;
  } else if (family.model_type == "llama") {
    config.qkv_bias = fields.BoolOr("attention_bias", false);
    config.o_bias = config.qkv_bias;
    config.mlp_bias = fields.BoolOr("mlp_bias", false);
  }
}

DType ReadDType(JsonFields& fields) {
  const std::string_view key = fields.Has("dtype") ? "dtype" : "torch_dtype";
  const std::string name = fields.TextOr(key, "float32");
  const absl::StatusOr<DType> dtype = ParseDType(name);
  if (!dtype.ok()) fields.Fail(key, std::string(dtype.status().message()));
  return dtype.value_or(DType::kFloat32);
}

ModelConfig ReadConfig(JsonFields& fields, const json& object,
                       const Family& family) {
  ModelConfig config;
  config.model_type = std::string(family.model_type);
  CheckArchitecture(fields, family);
  RefuseWhatCannotRun(fields);
  config.vocab_size = fields.Count("vocab_size", kMaxVocabSize);
  config.hidden_size = fields.Count("hidden_size", kMaxHiddenSize);
  config.intermediate_size =
      fields.Count("intermediate_size", kMaxIntermediateSize);
  config.num_layers = fields.Count("num_hidden_layers", kMaxLayers);
  ReadHeads(fields, object, family, config);
  config.max_position_embeddings = fields.CountOr(
      "max_position_embeddings", kMaxPositions, kDefaultPositions);
  config.rms_norm_eps = fields.PositiveOr("rms_norm_eps", 1e-6);
  config.rope = ReadRope(fields, config.max_position_embeddings);
  config.tie_word_embeddings = fields.BoolOr("tie_word_embeddings", false);
  ReadBiases(fields, family, config);
  config.sliding_window =
      ReadSlidingWindow(fields, object, family, config.num_layers);
  config.dtype = ReadDType(fields);
  return config;
}

// One id or a list of ids below `vocab_size`; ascending, each once.
std::vector<int32_t> ReadEosIds(JsonFields& fields, int64_t vocab_size) {
  constexpr std::string_view kKey = "eos_token_id";
  const json* value = fields.Find(kKey);
  if (value == nullptr) return {};
  std::vector<int32_t> ids;
  const json list = value->is_array() ? *value : json::array({*value});
  for (const json& id : list) {
    if (!id.is_number_unsigned() ||
        id.get<uint64_t>() >= static_cast<uint64_t>(vocab_size)) {
      fields.Fail(kKey,
                  StrCat(ShowJson(id), ", expected an id below vocab_size (",
                         vocab_size, ")"));
      return {};
    }
    ids.push_back(id.get<int32_t>());
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

// From generation_config.json, or else from config.json.
absl::StatusOr<std::vector<int32_t>> FindEosIds(const std::string& model_dir,
                                                JsonFields& config,
                                                int64_t vocab_size) {
  const std::string path = StrCat(model_dir, "/generation_config.json");
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) {
    DROVER_ASSIGN_OR_RETURN(const json object,
                            ReadJsonObject(path, kMaxConfigBytes));
    JsonFields fields(object, path);
    std::vector<int32_t> ids = ReadEosIds(fields, vocab_size);
    DROVER_RETURN_IF_ERROR(fields.status());
    if (!ids.empty()) return ids;
  }
  std::vector<int32_t> ids = ReadEosIds(config, vocab_size);
  DROVER_RETURN_IF_ERROR(config.status());
  return ids;
}

int32_t ReadPadId(JsonFields& fields, const ModelConfig& config) {
  // Some write -1 for none.
  const json* value = fields.Find("pad_token_id");
  if (value != nullptr && value->is_number_unsigned() &&
      value->get<uint64_t>() < static_cast<uint64_t>(config.vocab_size)) {
    return value->get<int32_t>();
  }
  return config.eos_ids.empty() ? 0 : config.eos_ids.front();
}

int64_t LinearParameters(int64_t out_size, int64_t in_size, bool bias) {
  return out_size * in_size + (bias ? out_size : 0);
}

}  // namespace

std::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kFloat16:
      return "float16";
    case DType::kBFloat16:
      return "bfloat16";
  }
  return "";
}

absl::StatusOr<DType> ParseDType(std::string_view name) {
  for (const DType dtype :
       {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    if (name == DTypeName(dtype)) return dtype;
  }
  return absl::InvalidArgumentError(
      StrCat(Quoted(name), ", expected float32, float16 or bfloat16"));
}

int64_t DTypeBytes(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

int64_t ModelConfig::num_parameters() const {
  const int64_t q_size = num_heads * head_dim;
  const int64_t kv_size = num_kv_heads * head_dim;
  const int64_t attention =
      LinearParameters(q_size, hidden_size, qkv_bias) +
      2 * LinearParameters(kv_size, hidden_size, qkv_bias) +
      LinearParameters(hidden_size, q_size, o_bias);
  const int64_t mlp =
      2 * LinearParameters(intermediate_size, hidden_size, mlp_bias) +
      LinearParameters(hidden_size, intermediate_size, mlp_bias);
  const int64_t norms = 2 * hidden_size;
  const int64_t embeddings =
      (tie_word_embeddings ? 1 : 2) * vocab_size * hidden_size;
  return embeddings + num_layers * (attention + mlp + norms) + hidden_size;
}

int64_t ModelConfig::kv_bytes_per_token(DType dtype) const {
  return 2 * num_layers * num_kv_heads * head_dim * DTypeBytes(dtype);
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& model_dir) {
  const std::string path = StrCat(model_dir, "/config.json");
  DROVER_ASSIGN_OR_RETURN(const json object,
                          ReadJsonObject(path, kMaxConfigBytes));
  JsonFields fields(object, path);
  const std::string model_type = fields.Text("model_type");
  DROVER_RETURN_IF_ERROR(fields.status());
  const Family* family = FindFamily(model_type);
  if (family == nullptr) {
    return absl::InvalidArgumentError(
        StrCat(path, ": model_type: ", ShowJson(model_type),
               " cannot be run, expected llama, mistral or qwen2"));
  }
  ModelConfig config = ReadConfig(fields, object, *family);
  DROVER_RETURN_IF_ERROR(fields.status());
  DROVER_ASSIGN_OR_RETURN(config.eos_ids,
                          FindEosIds(model_dir, fields, config.vocab_size));
  config.pad_id = ReadPadId(fields, config);
  return config;
}

}  // namespace drover
