#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace drover::bench {

// What a table says about many durations; all zero if there are none.
struct Summary {
  int64_t count = 0;
  absl::Duration mean;
  absl::Duration p50;
  absl::Duration p90;
  absl::Duration p99;
  absl::Duration max;
};

Summary Summarize(std::vector<absl::Duration> values);

// The value below which `percent` (0 to 100) of `sorted` lies, linear between
// the two neighbours: of 10, 20, 30 the 75th percentile is 25. `sorted` is
// ascending and not empty.
absl::Duration Percentile(const std::vector<absl::Duration>& sorted,
                          double percent);

}  // namespace drover::bench
