#include "model/tokenizer/read_post_processor.h"

#include <string>

#include "base/status_macros.h"
#include "base/strings.h"
#include "model/tokenizer/read_bpe.h"

namespace drover {
namespace {

constexpr int kMaxDepth = 8;

// The one id that a template's special token stands for.
absl::StatusOr<int32_t> ReadSpecialToken(const JsonNode& special_token,
                                         const JsonNode& processor) {
  DROVER_ASSIGN_OR_RETURN(const std::string name,
                          special_token.GetString("id"));
  DROVER_ASSIGN_OR_RETURN(const JsonNode known,
                          processor.Get("special_tokens"));
  DROVER_ASSIGN_OR_RETURN(const JsonNode entry, known.Get(name));
  DROVER_ASSIGN_OR_RETURN(const JsonNode ids, entry.Get("ids"));
  DROVER_RETURN_IF_ERROR(ids.CheckArray());
  if (ids.size() != 1) return ids.Unsupported("expected one id");
  return ids[0].AsId(kMaxTokenIds);
}

absl::Status ReadTemplate(const JsonNode& node, PostProcessing& result) {
  DROVER_ASSIGN_OR_RETURN(const JsonNode single, node.Get("single"));
  DROVER_RETURN_IF_ERROR(single.CheckArray());
  bool has_text = false;
  for (size_t i = 0; i < single.size(); ++i) {
    DROVER_ASSIGN_OR_RETURN(const auto token, single[i].Find("SpecialToken"));
    if (!token) {
      DROVER_ASSIGN_OR_RETURN(const JsonNode text, single[i].Get("Sequence"));
      DROVER_ASSIGN_OR_RETURN(const std::string name, text.GetString("id"));
      if (name != "A" || has_text) {
        return text.Unsupported("expected the text, A, once");
      }
      has_text = true;
    } else if (has_text || result.bos_id) {
      return token->Unsupported(
          "only one token, in front of the text, can be used");
    } else {
      DROVER_ASSIGN_OR_RETURN(result.bos_id, ReadSpecialToken(*token, node));
    }
  }
  return has_text ? absl::OkStatus()
                  : single.Invalid("the text, A, is missing");
}

absl::Status ReadByteLevel(const JsonNode& node, PostProcessing& result) {
  DROVER_ASSIGN_OR_RETURN(const bool trims,
                          node.GetBool("trim_offsets", false));
  DROVER_ASSIGN_OR_RETURN(const bool adds_space,
                          node.GetBool("add_prefix_space", false));
  if (trims) result.trims.push_back(adds_space);
  return absl::OkStatus();
}

absl::Status ReadOne(const JsonNode& node, int depth, PostProcessing& result) {
  DROVER_ASSIGN_OR_RETURN(const JsonNode type, node.Get("type"));
  DROVER_ASSIGN_OR_RETURN(const std::string name, type.AsString());
  if (name == "ByteLevel") return ReadByteLevel(node, result);
  if (name == "TemplateProcessing") return ReadTemplate(node, result);
  if (name != "Sequence") {
    return type.Unsupported(
        StrCat(Quoted(name),
               " cannot be used, only TemplateProcessing, ByteLevel and "
               "Sequence"));
  }
  if (depth == kMaxDepth) return node.Unsupported("too many Sequences");
  DROVER_ASSIGN_OR_RETURN(const JsonNode parts, node.Get("processors"));
  DROVER_RETURN_IF_ERROR(parts.CheckArray());
  for (size_t i = 0; i < parts.size(); ++i) {
    DROVER_RETURN_IF_ERROR(ReadOne(parts[i], depth + 1, result));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PostProcessing> ReadPostProcessor(const JsonNode& node) {
  PostProcessing result;
  DROVER_RETURN_IF_ERROR(ReadOne(node, /*depth=*/0, result));
  return result;
}

}  // namespace drover
