#include "model/json_fields.h"

#include <cmath>

#include "base/strings.h"

namespace drover {

using nlohmann::json;

std::string ShowJson(const json& value) {
  constexpr size_t kMaxShown = 60;
  // Escapes everything beyond ASCII, so that cutting leaves valid text.
  const std::string text =
      value.dump(/*indent=*/-1, /*indent_char=*/' ',
                 /*ensure_ascii=*/true, json::error_handler_t::replace);
  if (text.size() <= kMaxShown) return text;
  return StrCat(text.substr(0, kMaxShown), "...");
}

const json* JsonFields::Find(std::string_view key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void JsonFields::Fail(std::string_view key, std::string_view problem) {
  if (!status_.ok()) return;
  status_ =
      absl::InvalidArgumentError(StrCat(where_, ": ", key, ": ", problem));
}

const json* JsonFields::Require(std::string_view key) {
  const json* value = Find(key);
  if (value == nullptr) Fail(key, "missing");
  return value;
}

int64_t JsonFields::ToCount(std::string_view key, const json& value,
                            int64_t max) {
  const bool fits = value.is_number_unsigned() && value.get<uint64_t>() >= 1 &&
                    value.get<uint64_t>() <= static_cast<uint64_t>(max);
  if (fits) return value.get<int64_t>();
  Fail(key,
       StrCat(ShowJson(value), ", expected a whole number from 1 to ", max));
  return 1;
}

int64_t JsonFields::Count(std::string_view key, int64_t max) {
  const json* value = Require(key);
  return value == nullptr ? 1 : ToCount(key, *value, max);
}

int64_t JsonFields::CountOr(std::string_view key, int64_t max,
                            int64_t fallback) {
  const json* value = Find(key);
  return value == nullptr ? fallback : ToCount(key, *value, max);
}

double JsonFields::ToPositive(std::string_view key, const json& value) {
  if (value.is_number()) {
    const double number = value.get<double>();
    if (std::isfinite(number) && number > 0) return number;
  }
  Fail(key, StrCat(ShowJson(value), ", expected a number above 0"));
  return 1;
}

double JsonFields::Positive(std::string_view key) {
  const json* value = Require(key);
  return value == nullptr ? 1 : ToPositive(key, *value);
}

double JsonFields::PositiveOr(std::string_view key, double fallback) {
  const json* value = Find(key);
  return value == nullptr ? fallback : ToPositive(key, *value);
}

bool JsonFields::BoolOr(std::string_view key, bool fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  Fail(key, StrCat(ShowJson(*value), ", expected true or false"));
  return fallback;
}

std::string JsonFields::ToText(std::string_view key, const json& value) {
  if (value.is_string()) return value.get<std::string>();
  Fail(key, StrCat(ShowJson(value), ", expected a text"));
  return "";
}

std::string JsonFields::Text(std::string_view key) {
  const json* value = Require(key);
  return value == nullptr ? "" : ToText(key, *value);
}

std::string JsonFields::TextOr(std::string_view key, std::string fallback) {
  const json* value = Find(key);
  return value == nullptr ? std::move(fallback) : ToText(key, *value);
}

}  // namespace drover
