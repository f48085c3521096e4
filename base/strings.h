#pragma once

#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace drover {

// Debian's Abseil is built with a string_view of its own, which is no
// std::string_view; elsewhere the two are one type.
inline absl::string_view ToAbsl(std::string_view text) {
  return {text.data(), text.size()};
}

namespace internal {
inline absl::string_view StrCatArgument(std::string_view text) {
  return ToAbsl(text);
}
template <typename T>
requires(!std::is_same_v<T, std::string_view>) const T& StrCatArgument(
    const T& value) {
  return value;
}
}  // namespace internal

// absl::StrCat that takes std::string_view too.
template <typename... Args>
std::string StrCat(const Args&... args) {
  return absl::StrCat(internal::StrCatArgument(args)...);
}

// Untrusted text for a message: in quotes, control characters escaped.
inline std::string Quoted(std::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(ToAbsl(text)), "\"");
}

}  // namespace drover
