#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace drover {

// Reads typed fields of one JSON object. The first problem is kept in status(),
// naming the file and the field; from then on every read returns its fallback,
// so that callers check once, at the end. A null field counts as absent.
class JsonFields {
 public:
  // `where` begins every message ("models/x/config.json"); `object` outlives
  // this.
  JsonFields(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  bool Has(std::string_view key) const { return Find(key) != nullptr; }

  // A whole number between 1 and `max`.
  int64_t Count(std::string_view key, int64_t max);
  int64_t CountOr(std::string_view key, int64_t max, int64_t fallback);

  // A finite number above 0.
  double Positive(std::string_view key);
  double PositiveOr(std::string_view key, double fallback);

  bool BoolOr(std::string_view key, bool fallback);

  std::string Text(std::string_view key);
  std::string TextOr(std::string_view key, std::string fallback);

  // The field's value; nullptr if it is absent.
  const nlohmann::json* Find(std::string_view key) const;

  // Records "where: key: problem", unless there is a problem already.
  void Fail(std::string_view key, std::string_view problem);

  // Records another reader's first problem in the same way.
  void Adopt(const absl::Status& problem) {
    if (status_.ok()) status_ = problem;
  }

  const absl::Status& status() const { return status_; }
  const std::string& where() const { return where_; }

 private:
  // As Find, but an absent field is a problem.
  const nlohmann::json* Require(std::string_view key);

  int64_t ToCount(std::string_view key, const nlohmann::json& value,
                  int64_t max);
  double ToPositive(std::string_view key, const nlohmann::json& value);
  std::string ToText(std::string_view key, const nlohmann::json& value);

  const nlohmann::json& object_;
  const std::string where_;
  absl::Status status_;
};

// A value as the messages show it: its JSON text, shortened.
std::string ShowJson(const nlohmann::json& value);

}  // namespace drover
