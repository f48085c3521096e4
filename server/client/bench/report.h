#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/client/bench/goodput_limits.h"
#include "server/client/bench/stream_record.h"
#include "server/client/bench/summary.h"

namespace drover::bench {

// What a run amounts to. Tokens and latencies are those of the requests that
// completed.
struct Report {
  struct Failure {
    std::string what;
    int64_t count = 0;
  };

  int64_t num_completed = 0;
  int64_t num_failed = 0;
  std::vector<Failure> failures;  // the most frequent first
  absl::Duration duration;

  int64_t num_input_tokens = 0;
  int64_t num_output_tokens = 0;
  int64_t num_messages = 0;  // that brought tokens
  int64_t num_merged_messages = 0;

  // Per second of `duration`.
  double request_rate = 0;
  double output_token_rate = 0;
  double total_token_rate = 0;  // prompts and outputs
  // Only with limits: requests that met them.
  std::optional<int64_t> num_good;
  std::optional<double> goodput;

  Summary ttft;
  Summary tpot;
  Summary itl;
  Summary e2e;
};

Report MakeReport(const std::vector<StreamRecord>& records,
                  absl::Duration duration,
                  const std::optional<GoodputLimits>& limits);

}  // namespace drover::bench
