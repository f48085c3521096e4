#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "scheduler/batch_plan.h"

namespace drover {

// That ranks which run one model together answer alike, to the last bit: they
// must, since each goes on from its own tokens. Compares the answers to each
// step. Thread-safe.
class RankAgreement {
 public:
  explicit RankAgreement(size_t num_ranks) : num_ranks_(num_ranks) {}

  // INTERNAL, with step, slot and ranks, if another rank answered otherwise.
  absl::Status Add(size_t rank, const StepResult& result);

 private:
  // What the first rank to answer said.
  struct Answer {
    StepResult result;
    size_t rank = 0;
    size_t num_ranks = 1;  // that have answered
  };

  const size_t num_ranks_;
  absl::Mutex mutex_;
  std::map<uint64_t, Answer> open_ ABSL_GUARDED_BY(mutex_);  // by step
};

}  // namespace drover
