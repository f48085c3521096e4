#pragma once

#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/client/bench/stream_record.h"

namespace drover::bench {

// What makes a request a good one: no named latency is above its limit.
struct GoodputLimits {
  std::optional<absl::Duration> ttft;
  std::optional<absl::Duration> tpot;
  std::optional<absl::Duration> e2e;

  bool IsMetBy(const StreamLatency& latency) const;
};

// "ttft:200ms,tpot:50ms", with at least one of ttft, tpot and e2e, each once,
// and durations with their unit.
absl::StatusOr<GoodputLimits> ParseGoodputLimits(std::string_view text);

}  // namespace drover::bench
