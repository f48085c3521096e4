#include "server/client/bench/goodput_limits.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "base/strings.h"

namespace drover::bench {
namespace {

bool IsWithin(absl::Duration value, std::optional<absl::Duration> limit) {
  return !limit.has_value() || value <= *limit;
}

// Where the limit of that name is kept, or null.
std::optional<absl::Duration>* FindLimit(absl::string_view name,
                                         GoodputLimits& limits) {
  if (name == "ttft") return &limits.ttft;
  if (name == "tpot") return &limits.tpot;
  if (name == "e2e") return &limits.e2e;
  return nullptr;
}

bool ParseLimit(absl::string_view text, GoodputLimits& limits) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  std::optional<absl::Duration>* limit = FindLimit(parts.first, limits);
  if (limit == nullptr || limit->has_value()) return false;
  absl::Duration duration;
  if (!absl::ParseDuration(parts.second, &duration)) return false;
  if (duration <= absl::ZeroDuration()) return false;
  *limit = duration;
  return true;
}

}  // namespace

bool GoodputLimits::IsMetBy(const StreamLatency& latency) const {
  return IsWithin(latency.ttft, ttft) && IsWithin(latency.e2e, e2e) &&
         IsWithin(latency.tpot.value_or(absl::ZeroDuration()), tpot);
}

absl::StatusOr<GoodputLimits> ParseGoodputLimits(std::string_view text) {
  GoodputLimits limits;
  for (const absl::string_view part : absl::StrSplit(ToAbsl(text), ',')) {
    if (ParseLimit(part, limits)) continue;
    return absl::InvalidArgumentError(
        StrCat("--goodput ", Quoted(text), ": ",
               Quoted(std::string_view(part.data(), part.size())),
               " is no new limit; expected ttft, tpot or e2e with a duration, "
               "as in ttft:200ms,tpot:50ms"));
  }
  return limits;
}

}  // namespace drover::bench
