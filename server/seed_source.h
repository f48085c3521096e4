#pragma once

#include <cstdint>
#include <random>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace drover {

// Seeds for requests that bring none: independent, in [0, 2^32). Thread-safe.
class SeedSource {
 public:
  uint64_t Next() {
    absl::MutexLock lock(&mutex_);
    return engine_();
  }

 private:
  absl::Mutex mutex_;
  std::mt19937 engine_ ABSL_GUARDED_BY(mutex_){std::random_device{}()};
};

}  // namespace drover
