#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "base/read_file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/tokenizer/sentencepiece_tokenizer.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_json.h"
#include "nlohmann/json.hpp"

namespace drover {
namespace {

using nlohmann::json;

// Far above any tokenizer there is.
constexpr int64_t kMaxModelBytes = int64_t{64} << 20;
constexpr int64_t kMaxConfigBytes = int64_t{16} << 20;

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// One switch of tokenizer_config.json; absent or null: `fallback`.
absl::StatusOr<bool> ReadSwitch(const json& config, const std::string& path,
                                const char* key, bool fallback) {
  const auto value = config.find(key);
  if (value == config.end() || value->is_null()) return fallback;
  if (!value->is_boolean()) {
    return absl::InvalidArgumentError(
        StrCat(path, ": ", key, ": expected true or false"));
  }
  return value->get<bool>();
}

// Whether texts begin with BOS, as tokenizer_config.json says (true without
// one). An EOS at their end, which no Llama wants, is refused.
absl::StatusOr<bool> WantsBos(const std::string& model_dir) {
  const std::string path = model_dir + "/tokenizer_config.json";
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxConfigBytes);
  if (absl::IsNotFound(text.status())) return true;
  DROVER_RETURN_IF_ERROR(text.status());
  const json config =
      json::parse(*text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return absl::InvalidArgumentError(StrCat(path, ": not a JSON object"));
  }
  DROVER_ASSIGN_OR_RETURN(const bool adds_eos,
                          ReadSwitch(config, path, "add_eos_token", false));
  if (adds_eos) {
    return absl::InvalidArgumentError(
        StrCat(path, ": add_eos_token: true cannot be used"));
  }
  return ReadSwitch(config, path, "add_bos_token", true);
}

// An error gets the file's name in front.
absl::StatusOr<std::unique_ptr<Tokenizer>> AtPath(
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer,
    const std::string& path) {
  if (tokenizer.ok()) return tokenizer;
  return absl::Status(
      tokenizer.status().code(),
      StrCat(path, ": ", std::string(tokenizer.status().message())));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadSentencepiece(
    const std::string& model_dir, const std::string& path) {
  DROVER_ASSIGN_OR_RETURN(const std::string model,
                          ReadFile(path, kMaxModelBytes));
  DROVER_ASSIGN_OR_RETURN(const bool prepend_bos, WantsBos(model_dir));
  return AtPath(SentencepieceTokenizer::Create(model, prepend_bos), path);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(
    const std::string& model_dir) {
  const std::string model_path = model_dir + "/tokenizer.model";
  if (Exists(model_path)) return LoadSentencepiece(model_dir, model_path);
  const std::string json_path = model_dir + "/tokenizer.json";
  if (Exists(json_path)) {
    DROVER_ASSIGN_OR_RETURN(const std::string text,
                            ReadFile(json_path, kMaxModelBytes));
    return AtPath(ParseTokenizerJson(text), json_path);
  }
  return absl::NotFoundError(
      Exists(model_dir)
          ? StrCat(model_dir, ": no tokenizer.model and no tokenizer.json")
          : StrCat(model_dir, ": no such folder"));
}

}  // namespace drover
