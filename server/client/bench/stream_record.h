#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace drover::bench {

// What was seen of one request. Instants are of one monotonic clock.
struct StreamRecord {
  absl::Time sent_at;
  // When each message that brought tokens was read; one token each unless the
  // server merges.
  std::vector<absl::Time> token_times;
  int32_t num_input_tokens = 0;
  int32_t num_output_tokens = 0;
  int32_t num_merged_messages = 0;  // messages that brought several tokens
  // Not OK: the call failed, or not all tokens came. The rest is then what was
  // seen until then.
  absl::Status status;
};

// The latencies of one successful request, as `vllm bench serve` defines them.
struct StreamLatency {
  absl::Duration ttft;  // send to first token
  // (E2E - TTFT) / (output tokens - 1); nothing if there is but one token.
  std::optional<absl::Duration> tpot;
  std::vector<absl::Duration> itl;  // gaps between messages with tokens
  absl::Duration e2e;               // send to last token
};

// `record` has at least one token.
StreamLatency LatencyOf(const StreamRecord& record);

}  // namespace drover::bench
