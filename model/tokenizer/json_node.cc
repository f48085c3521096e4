#include "model/tokenizer/json_node.h"

#include "base/status_macros.h"
#include "base/strings.h"

namespace drover {

absl::Status JsonNode::Invalid(std::string_view what) const {
  return absl::InvalidArgumentError(path_.empty() ? std::string(what)
                                                  : StrCat(path_, ": ", what));
}

absl::Status JsonNode::Unsupported(std::string_view what) const {
  return absl::UnimplementedError(StrCat(path_, ": ", what));
}

JsonNode JsonNode::Child(const nlohmann::json& value,
                         std::string_view key) const {
  return JsonNode(value, StrCat(path_, path_.empty() ? "" : ".", key));
}

absl::StatusOr<std::optional<JsonNode>> JsonNode::Find(
    std::string_view key) const {
  DROVER_RETURN_IF_ERROR(CheckObject());
  const auto member = value_->find(key);
  if (member == value_->end() || member->is_null()) return std::nullopt;
  return Child(*member, key);
}

absl::StatusOr<JsonNode> JsonNode::Get(std::string_view key) const {
  DROVER_ASSIGN_OR_RETURN(const std::optional<JsonNode> member, Find(key));
  if (!member) return Child(*value_, key).Invalid("missing");
  return *member;
}

absl::StatusOr<std::string> JsonNode::GetString(std::string_view key) const {
  DROVER_ASSIGN_OR_RETURN(const JsonNode member, Get(key));
  return member.AsString();
}

absl::StatusOr<bool> JsonNode::GetBool(std::string_view key,
                                       bool fallback) const {
  DROVER_ASSIGN_OR_RETURN(const std::optional<JsonNode> member, Find(key));
  if (!member) return fallback;
  if (!member->value().is_boolean()) {
    return member->Invalid("expected true or false");
  }
  return member->value().get<bool>();
}

absl::Status JsonNode::CheckArray() const {
  return value_->is_array() ? absl::OkStatus() : Invalid("expected an array");
}

absl::Status JsonNode::CheckObject() const {
  return value_->is_object() ? absl::OkStatus() : Invalid("expected an object");
}

JsonNode JsonNode::operator[](size_t index) const {
  return JsonNode((*value_)[index], StrCat(path_, "[", index, "]"));
}

absl::StatusOr<std::string> JsonNode::AsString() const {
  if (!value_->is_string()) return Invalid("expected a string");
  return value_->get<std::string>();
}

absl::StatusOr<int32_t> JsonNode::AsId(int32_t limit) const {
  if (!value_->is_number_unsigned() ||
      value_->get<uint64_t>() >= static_cast<uint64_t>(limit)) {
    return Invalid(StrCat("expected an id from 0 to ", limit - 1));
  }
  return static_cast<int32_t>(value_->get<uint64_t>());
}

}  // namespace drover
