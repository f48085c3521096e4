#include "base/clock.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

TEST(ClockTest, TheMonotonicClockNeverGoesBack) {
  absl::Time last = Clock::Monotonic().Now();
  for (int i = 0; i < 10000; ++i) {
    const absl::Time now = Clock::Monotonic().Now();
    ASSERT_GE(now, last);
    last = now;
  }
}

}  // namespace
}  // namespace drover
