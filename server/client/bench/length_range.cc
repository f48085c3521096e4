#include "server/client/bench/length_range.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/strings.h"

namespace drover::bench {
namespace {

constexpr int32_t kMaxLength = 10'000'000;

}  // namespace

int32_t LengthRange::Draw(SeededRandom& random) const {
  const auto num_choices = static_cast<uint64_t>(max - min) + 1;
  return min + static_cast<int32_t>(random.Below(num_choices));
}

std::string LengthRange::ToString() const {
  return min == max ? StrCat(min) : StrCat(min, ":", max);
}

absl::StatusOr<LengthRange> ParseLengthRange(std::string_view flag,
                                             std::string_view text) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(ToAbsl(text), absl::MaxSplits(':', 1));
  const bool is_fixed = text.find(':') == text.npos;
  LengthRange range;
  const bool is_read =
      absl::SimpleAtoi(parts.first, &range.min) &&
      absl::SimpleAtoi(is_fixed ? parts.first : parts.second, &range.max);
  if (!is_read || range.min < 1 || range.max < range.min ||
      range.max > kMaxLength) {
    return absl::InvalidArgumentError(
        StrCat(flag, " ", Quoted(text),
               ": expected a number of tokens or a range A:B, from 1 to ",
               kMaxLength));
  }
  return range;
}

}  // namespace drover::bench
