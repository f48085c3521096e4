#include "server/client/bench/summary.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "base/check.h"

namespace drover::bench {

absl::Duration Percentile(const std::vector<absl::Duration>& sorted,
                          double percent) {
  DROVER_CHECK(!sorted.empty(), "no values have no percentile");
  const double position =
      percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double fraction = position - std::floor(position);
  return sorted[below] + (sorted[above] - sorted[below]) * fraction;
}

Summary Summarize(std::vector<absl::Duration> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const absl::Duration sum =
      std::accumulate(values.begin(), values.end(), absl::ZeroDuration());
  const auto count = static_cast<int64_t>(values.size());
  return {.count = count,
          .mean = sum / count,
          .p50 = Percentile(values, 50),
          .p90 = Percentile(values, 90),
          .p99 = Percentile(values, 99),
          .max = values.back()};
}

}  // namespace drover::bench
