#pragma once

#include "absl/time/time.h"

namespace drover {

// A clock that only moves forward. Its instants compare with each other, not
// with wall time. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;

  // The process's steady clock; lives forever.
  static const Clock& Monotonic();
};

}  // namespace drover
