#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace drover {

// A value of a JSON document that knows its path, so that whatever is wrong
// with it is said by name: `pre_tokenizer.pretokenizers[0].type: ...`. The
// document outlives it.
class JsonNode {
 public:
  explicit JsonNode(const nlohmann::json& document) : value_(&document) {}

  const nlohmann::json& value() const { return *value_; }

  // INVALID_ARGUMENT and UNIMPLEMENTED, with the path in front.
  absl::Status Invalid(std::string_view what) const;
  absl::Status Unsupported(std::string_view what) const;

  // A member of an object; nothing if it is absent or null. The object itself
  // must be one.
  absl::StatusOr<std::optional<JsonNode>> Find(std::string_view key) const;
  absl::StatusOr<JsonNode> Get(std::string_view key) const;
  absl::StatusOr<std::string> GetString(std::string_view key) const;
  absl::StatusOr<bool> GetBool(std::string_view key, bool fallback) const;

  absl::Status CheckArray() const;
  absl::Status CheckObject() const;
  size_t size() const { return value_->size(); }
  JsonNode operator[](size_t index) const;  // of an array

  absl::StatusOr<std::string> AsString() const;
  // From 0 to below `limit`.
  absl::StatusOr<int32_t> AsId(int32_t limit) const;

 private:
  JsonNode(const nlohmann::json& value, std::string path)
      : value_(&value), path_(std::move(path)) {}

  JsonNode Child(const nlohmann::json& value, std::string_view key) const;

  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace drover
