#include "model/tokenizer/tokenizer_json.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/tokenizer/byte_level_tokenizer.h"
#include "model/tokenizer/json_node.h"
#include "model/tokenizer/normalizer.h"
#include "model/tokenizer/read_added_tokens.h"
#include "model/tokenizer/read_bpe.h"
#include "model/tokenizer/read_post_processor.h"
#include "model/tokenizer/read_pre_tokenizer.h"

namespace drover {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 8;

absl::Status CheckVersion(const JsonNode& root) {
  DROVER_ASSIGN_OR_RETURN(const auto version, root.Find("version"));
  if (!version) return absl::OkStatus();
  DROVER_ASSIGN_OR_RETURN(const std::string text, version->AsString());
  if (text == "1.0") return absl::OkStatus();
  return version->Unsupported(StrCat(Quoted(text), ", expected \"1.0\""));
}

// Sets `is_nfc` if there is an NFC somewhere. (Twice is as good as once.)
absl::Status ReadNormalizer(const JsonNode& node, int depth, bool& is_nfc) {
  DROVER_ASSIGN_OR_RETURN(const JsonNode type, node.Get("type"));
  DROVER_ASSIGN_OR_RETURN(const std::string name, type.AsString());
  if (name == "NFC") {
    is_nfc = true;
    return absl::OkStatus();
  }
  if (name != "Sequence") {
    return type.Unsupported(
        StrCat(Quoted(name), " cannot be used, only NFC and Sequence"));
  }
  if (depth == kMaxDepth) return node.Unsupported("too many Sequences");
  DROVER_ASSIGN_OR_RETURN(const JsonNode parts, node.Get("normalizers"));
  DROVER_RETURN_IF_ERROR(parts.CheckArray());
  for (size_t i = 0; i < parts.size(); ++i) {
    DROVER_RETURN_IF_ERROR(ReadNormalizer(parts[i], depth + 1, is_nfc));
  }
  return absl::OkStatus();
}

absl::Status CheckDecoder(const JsonNode& root) {
  DROVER_ASSIGN_OR_RETURN(const JsonNode decoder, root.Get("decoder"));
  DROVER_ASSIGN_OR_RETURN(const JsonNode type, decoder.Get("type"));
  DROVER_ASSIGN_OR_RETURN(const std::string name, type.AsString());
  if (name == "ByteLevel") return absl::OkStatus();
  return type.Unsupported(
      StrCat(Quoted(name), " cannot be used, only ByteLevel"));
}

// The added tokens get their places among the pieces.
absl::Status AddPieces(const std::vector<AddedToken>& tokens,
                       std::vector<std::string>& pieces) {
  for (const AddedToken& token : tokens) {
    const auto id = static_cast<size_t>(token.id);
    if (id >= pieces.size()) pieces.resize(id + 1);
    if (pieces[id].empty()) pieces[id] = token.content;
    if (pieces[id] != token.content) {
      return absl::InvalidArgumentError(StrCat("added_tokens: id ", token.id,
                                               " is both ", Quoted(pieces[id]),
                                               " and ", Quoted(token.content)));
    }
  }
  return absl::OkStatus();
}

// Those that are looked for in the normalised text are themselves normalised,
// and so are their pieces.
void NormalizeAddedTokens(ByteLevelTokenizer::Parts& parts) {
  if (!parts.normalizes_to_nfc) return;
  for (AddedToken& token : parts.added_tokens) {
    if (!token.normalized) continue;
    token.content = ToNfc(token.content).text;
    parts.pieces[static_cast<size_t>(token.id)] = token.content;
  }
}

absl::Status ReadPostProcessorInto(const JsonNode& root,
                                   ByteLevelTokenizer::Parts& parts) {
  DROVER_ASSIGN_OR_RETURN(const auto node, root.Find("post_processor"));
  if (!node) return absl::OkStatus();
  DROVER_ASSIGN_OR_RETURN(PostProcessing processing, ReadPostProcessor(*node));
  parts.trims = std::move(processing.trims);
  parts.bos_id = processing.bos_id;
  const auto has_piece = [&parts](int32_t id) {
    const auto index = static_cast<size_t>(id);
    return index < parts.pieces.size() && !parts.pieces[index].empty();
  };
  if (parts.bos_id && !has_piece(*parts.bos_id)) {
    return node->Invalid(StrCat("there is no token ", *parts.bos_id));
  }
  return absl::OkStatus();
}

absl::StatusOr<ByteLevelTokenizer::Parts> ReadParts(const JsonNode& root) {
  ByteLevelTokenizer::Parts parts;
  DROVER_RETURN_IF_ERROR(CheckVersion(root));
  DROVER_ASSIGN_OR_RETURN(const auto normalizer, root.Find("normalizer"));
  if (normalizer) {
    DROVER_RETURN_IF_ERROR(
        ReadNormalizer(*normalizer, /*depth=*/0, parts.normalizes_to_nfc));
  }
  DROVER_ASSIGN_OR_RETURN(const JsonNode pre_tokenizer,
                          root.Get("pre_tokenizer"));
  DROVER_ASSIGN_OR_RETURN(parts.pre_tokenizer, ReadPreTokenizer(pre_tokenizer));
  DROVER_RETURN_IF_ERROR(CheckDecoder(root));
  DROVER_ASSIGN_OR_RETURN(const JsonNode model_node, root.Get("model"));
  DROVER_ASSIGN_OR_RETURN(BpeModel model, ReadBpe(model_node));
  DROVER_ASSIGN_OR_RETURN(parts.added_tokens, ReadAddedTokens(root, model));
  parts.pieces = std::move(model.pieces);
  parts.bpe = std::move(model.tables);
  DROVER_RETURN_IF_ERROR(AddPieces(parts.added_tokens, parts.pieces));
  NormalizeAddedTokens(parts);
  DROVER_RETURN_IF_ERROR(ReadPostProcessorInto(root, parts));
  return parts;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> ParseTokenizerJson(
    std::string_view text) {
  const json document =
      json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) {
    return absl::InvalidArgumentError("not JSON");
  }
  DROVER_ASSIGN_OR_RETURN(ByteLevelTokenizer::Parts parts,
                          ReadParts(JsonNode(document)));
  return std::make_unique<ByteLevelTokenizer>(std::move(parts));
}

}  // namespace drover
