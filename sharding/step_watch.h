#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace drover {

// Which ranks have plans and get nowhere: their connections may go on for ever.
// It counts looks, not time: a router that was stopped itself has seen nothing
// meanwhile. Thread-safe.
class StepWatch {
 public:
  // In a row, without a result in between. The first may come right after a
  // plan.
  static constexpr int kMaxLooks = 5;

  explicit StepWatch(size_t num_ranks) : ranks_(num_ranks) {}

  // A plan goes to all ranks.
  void OnSubmit();
  void OnResult(size_t rank);

  // To be called every so often. The ranks, in ascending order, that have been
  // found waiting more than kMaxLooks times.
  std::vector<size_t> Look();

 private:
  struct Rank {
    uint64_t num_results = 0;
    uint64_t num_seen = 0;  // results, at the last look
    int num_looks = 0;      // since the last progress
  };

  absl::Mutex mutex_;
  uint64_t num_plans_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Rank> ranks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace drover
