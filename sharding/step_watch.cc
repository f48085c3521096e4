#include "sharding/step_watch.h"

#include <utility>

namespace drover {

void StepWatch::OnSubmit() {
  absl::MutexLock lock(&mutex_);
  ++num_plans_;
}

void StepWatch::OnResult(size_t rank) {
  absl::MutexLock lock(&mutex_);
  ++ranks_[rank].num_results;
}

std::vector<size_t> StepWatch::Look() {
  absl::MutexLock lock(&mutex_);
  std::vector<size_t> stuck;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    Rank& rank = ranks_[i];
    const bool waits = rank.num_results < num_plans_;
    const bool got_on =
        std::exchange(rank.num_seen, rank.num_results) != rank.num_results;
    rank.num_looks = waits && !got_on ? rank.num_looks + 1 : 0;
    if (rank.num_looks > kMaxLooks) stuck.push_back(i);
  }
  return stuck;
}

}  // namespace drover
