#include "server/client/bench/summary.h"

#include <gtest/gtest.h>

namespace drover::bench {
namespace {

std::vector<absl::Duration> Millis(const std::vector<int64_t>& values) {
  std::vector<absl::Duration> durations;
  for (const int64_t value : values) {
    durations.push_back(absl::Milliseconds(value));
  }
  return durations;
}

TEST(Percentile, LiesBetweenItsNeighbours) {
  struct Row {
    const char* situation;
    std::vector<int64_t> sorted_ms;
    double percent;
    absl::Duration expected;
  };
  const Row rows[] = {
      {"one value", {7}, 99, absl::Milliseconds(7)},
      {"lowest", {10, 20, 30}, 0, absl::Milliseconds(10)},
      {"highest", {10, 20, 30}, 100, absl::Milliseconds(30)},
      {"middle", {10, 20, 30}, 50, absl::Milliseconds(20)},
      {"between", {10, 20, 30}, 75, absl::Milliseconds(25)},
      {"even count", {10, 20, 30, 40}, 50, absl::Milliseconds(25)},
      {"of eleven",
       {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
       90,
       absl::Milliseconds(9)},
  };
  for (const Row& row : rows) {
    const absl::Duration found = Percentile(Millis(row.sorted_ms), row.percent);
    EXPECT_LE(absl::AbsDuration(found - row.expected), absl::Nanoseconds(1))
        << row.situation << ": " << found;
  }
}

TEST(Summary, DescribesValuesInAnyOrder) {
  const Summary summary = Summarize(Millis({40, 10, 30, 20}));
  EXPECT_EQ(summary.count, 4);
  EXPECT_EQ(summary.mean, absl::Milliseconds(25));
  EXPECT_EQ(summary.p50, absl::Milliseconds(25));
  EXPECT_EQ(summary.max, absl::Milliseconds(40));
  EXPECT_LT(summary.p90, summary.p99);
}

TEST(Summary, OfNothingIsZero) {
  const Summary summary = Summarize({});
  EXPECT_EQ(summary.count, 0);
  EXPECT_EQ(summary.p99, absl::ZeroDuration());
}

}  // namespace
}  // namespace drover::bench
