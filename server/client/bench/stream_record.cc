#include "server/client/bench/stream_record.h"

#include <cstddef>

#include "base/check.h"

namespace drover::bench {

StreamLatency LatencyOf(const StreamRecord& record) {
  const std::vector<absl::Time>& times = record.token_times;
  DROVER_CHECK(!times.empty(), "a stream without tokens has no latency");
  StreamLatency latency{.ttft = times.front() - record.sent_at,
                        .e2e = times.back() - record.sent_at};
  if (record.num_output_tokens > 1) {
    latency.tpot =
        (latency.e2e - latency.ttft) / (record.num_output_tokens - 1);
  }
  latency.itl.reserve(times.size() - 1);
  for (size_t i = 1; i < times.size(); ++i) {
    latency.itl.push_back(times[i] - times[i - 1]);
  }
  return latency;
}

}  // namespace drover::bench
