#include "server/byte_size.h"

#include <array>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "base/strings.h"

namespace drover {
namespace {

struct Unit {
  std::string_view name;
  int64_t bytes;
};

constexpr std::array<Unit, 9> kUnits = {{
    {"B", 1},
    {"KiB", int64_t{1} << 10},
    {"MiB", int64_t{1} << 20},
    {"GiB", int64_t{1} << 30},
    {"TiB", int64_t{1} << 40},
    {"kB", 1'000},
    {"MB", 1'000'000},
    {"GB", 1'000'000'000},
    {"TB", 1'000'000'000'000},
}};

std::string_view Stripped(std::string_view text) {
  const size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

absl::Status NotASize(std::string_view text) {
  return absl::InvalidArgumentError(StrCat(
      Quoted(text), " is no size: expected a number and a unit, as in 2GiB"));
}

}  // namespace

absl::StatusOr<int64_t> ParseByteSize(std::string_view text) {
  const std::string_view trimmed = Stripped(text);
  const size_t number_end = trimmed.find_first_not_of("0123456789.");
  const std::string_view number = trimmed.substr(0, number_end);
  std::string_view unit = "B";
  if (number_end != std::string_view::npos) {
    unit = Stripped(trimmed.substr(number_end));
  }
  double count = 0;
  if (!absl::SimpleAtod(ToAbsl(number), &count)) return NotASize(text);
  for (const Unit& candidate : kUnits) {
    if (!absl::EqualsIgnoreCase(ToAbsl(unit), ToAbsl(candidate.name))) continue;
    const double bytes =
        std::round(count * static_cast<double>(candidate.bytes));
    // 2^53: beyond it a double does not hold every whole number.
    if (bytes > 9007199254740992.0) return NotASize(text);
    return static_cast<int64_t>(bytes);
  }
  return NotASize(text);
}

std::string FormatByteSize(int64_t bytes) {
  constexpr std::array<std::string_view, 5> kNames = {"B", "KiB", "MiB", "GiB",
                                                      "TiB"};
  if (bytes < 1024) return StrCat(bytes, " B");
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  if (value == std::floor(value)) {
    return absl::StrFormat("%.0f %s", value, std::string(kNames[unit]));
  }
  return absl::StrFormat("%.2f %s", value, std::string(kNames[unit]));
}

}  // namespace drover
