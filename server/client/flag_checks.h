#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/numbers.h"
#include "base/strings.h"

namespace drover {

// For CLI::Option::check, which wants an empty string or what is wrong. CLI11
// itself takes -1 for 2^64 - 1, and larger numbers too.
inline std::string CheckSeed(const std::string& text) {
  uint64_t seed = 0;
  if (absl::SimpleAtoi(text, &seed)) return "";
  return StrCat(text, ": expected a whole number from 0 to ", UINT64_MAX);
}

}  // namespace drover
