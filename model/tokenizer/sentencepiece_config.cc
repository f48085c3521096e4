#include "model/tokenizer/sentencepiece_config.h"

#include <cstdint>
#include <utility>

#include "base/read_file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/tokenizer/json_node.h"
#include "model/tokenizer/read_added_tokens.h"
#include "nlohmann/json.hpp"

namespace drover {
namespace {

using nlohmann::json;
using Options = SentencepieceTokenizer::Options;

constexpr int64_t kMaxConfigBytes = int64_t{16} << 20;

absl::StatusOr<Options> Read(const JsonNode& root) {
  DROVER_RETURN_IF_ERROR(root.CheckObject());
  DROVER_ASSIGN_OR_RETURN(const bool adds_eos,
                          root.GetBool("add_eos_token", false));
  if (adds_eos) {
    return absl::InvalidArgumentError("add_eos_token: true cannot be used");
  }
  Options options = {.finds_added_tokens = true};
  DROVER_ASSIGN_OR_RETURN(options.prepend_bos,
                          root.GetBool("add_bos_token", true));
  DROVER_ASSIGN_OR_RETURN(options.prefixes_every_part,
                          root.GetBool("legacy", true));
  DROVER_ASSIGN_OR_RETURN(options.added_tokens, ReadAddedTokensDecoder(root));
  return options;
}

}  // namespace

absl::StatusOr<Options> ReadSentencepieceConfig(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxConfigBytes);
  if (absl::IsNotFound(text.status())) return Options();
  DROVER_RETURN_IF_ERROR(text.status());
  const json config =
      json::parse(*text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return absl::InvalidArgumentError(StrCat(path, ": not a JSON object"));
  }
  absl::StatusOr<Options> options = Read(JsonNode(config));
  if (options.ok()) return options;
  return absl::Status(
      options.status().code(),
      StrCat(path, ": ", std::string(options.status().message())));
}

}  // namespace drover
