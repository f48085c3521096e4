#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "base/read_file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/tokenizer/sentencepiece_config.h"
#include "model/tokenizer/sentencepiece_tokenizer.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_json.h"

namespace drover {
namespace {

// Far above any tokenizer there is.
constexpr int64_t kMaxModelBytes = int64_t{64} << 20;

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
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
  DROVER_ASSIGN_OR_RETURN(
      SentencepieceTokenizer::Options options,
      ReadSentencepieceConfig(model_dir + "/tokenizer_config.json"));
  return AtPath(SentencepieceTokenizer::Create(model, std::move(options)),
                path);
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
