#include "model/tokenizer/read_added_tokens.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace drover {
namespace {

// All but its id.
absl::StatusOr<AddedToken> ReadContent(const JsonNode& node) {
  AddedToken token;
  DROVER_ASSIGN_OR_RETURN(token.content, node.GetString("content"));
  DROVER_ASSIGN_OR_RETURN(token.single_word,
                          node.GetBool("single_word", false));
  DROVER_ASSIGN_OR_RETURN(token.lstrip, node.GetBool("lstrip", false));
  DROVER_ASSIGN_OR_RETURN(token.rstrip, node.GetBool("rstrip", false));
  DROVER_ASSIGN_OR_RETURN(token.special, node.GetBool("special", false));
  DROVER_ASSIGN_OR_RETURN(token.normalized,
                          node.GetBool("normalized", !token.special));
  if (token.content.empty()) return node.Invalid("an empty token");
  return token;
}

absl::StatusOr<AddedToken> ReadToken(const JsonNode& node) {
  DROVER_ASSIGN_OR_RETURN(const JsonNode id, node.Get("id"));
  DROVER_ASSIGN_OR_RETURN(const int32_t number, id.AsId(kMaxTokenIds));
  DROVER_ASSIGN_OR_RETURN(AddedToken token, ReadContent(node));
  token.id = number;
  return token;
}

}  // namespace

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const JsonNode& root,
                                                        const BpeModel& model) {
  std::vector<AddedToken> tokens;
  DROVER_ASSIGN_OR_RETURN(const auto list, root.Find("added_tokens"));
  if (!list) return tokens;
  DROVER_RETURN_IF_ERROR(list->CheckArray());
  absl::flat_hash_set<std::string> contents;
  auto next_id = static_cast<int32_t>(model.ids.size());
  for (size_t i = 0; i < list->size(); ++i) {
    const JsonNode node = (*list)[i];
    DROVER_ASSIGN_OR_RETURN(AddedToken token, ReadToken(node));
    if (!contents.insert(token.content).second) {
      return node.Invalid(StrCat(Quoted(token.content), " is there twice"));
    }
    const auto known = model.ids.find(token.content);
    token.in_vocabulary = known != model.ids.end();
    const int32_t id = token.in_vocabulary ? known->second : next_id;
    if (token.id != id) {
      return node.Unsupported(StrCat(Quoted(token.content), " has id ",
                                     token.id, ", expected ", id));
    }
    next_id = std::max(next_id, id + 1);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokensDecoder(
    const JsonNode& root) {
  std::vector<AddedToken> tokens;
  DROVER_ASSIGN_OR_RETURN(const auto decoder,
                          root.Find("added_tokens_decoder"));
  if (!decoder) return tokens;
  DROVER_RETURN_IF_ERROR(decoder->CheckObject());
  for (const auto& [key, value] : decoder->value().items()) {
    DROVER_ASSIGN_OR_RETURN(const JsonNode node, decoder->Get(key));
    DROVER_ASSIGN_OR_RETURN(AddedToken token, ReadContent(node));
    if (!absl::SimpleAtoi(key, &token.id) || token.id < 0) {
      return node.Invalid("expected an id for its name");
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace drover
