#pragma once

#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "scheduler/scheduler.h"
#include "tests/testing/fake_shard.h"

namespace drover::testing {

// What a request was told, sorted by kind.
struct Outcome {
  bool scheduled = false;
  std::vector<int32_t> tokens;
  std::vector<TokenScore> prompt_scores;
  std::optional<RequestEnded> end;
};

// A scheduler stepped by hand over a fake shard. Every step that the scheduler
// takes is followed by the invariants.
class SchedulerHarness {
 public:
  explicit SchedulerHarness(ExecutorInfo info = {.num_slots = 4,
                                                 .num_blocks = 33,
                                                 .max_step_tokens = 64,
                                                 .max_sequence_length = 512},
                            SchedulerOptions options = {},
                            NextToken model = HashedToken);

  RequestId Add(Request request);
  // `prompt_len` ids that no other prompt shares.
  RequestId Add(int prompt_len, int max_new_tokens,
                SharedPrefix prefix = nullptr);

  // Plans one step, as far as the scheduler wants one.
  std::optional<BatchPlan> Plan();
  // The plan made last will have taken so long.
  void Takes(absl::Duration time) { times_.back() = time; }
  // Runs the oldest plan in flight and commits its result.
  void Commit();
  // Plan as far as possible, then commit one, until nothing is left to do.
  void RunToEnd();

  Scheduler& scheduler() { return scheduler_; }
  const Outcome& outcome(RequestId id) { return outcomes_[id]; }
  const FakeShard& shard() const { return shard_; }
  // What the shard's model sees before the first generated token.
  const std::vector<int32_t>& prompt(RequestId id) { return prompts_[id]; }
  absl::Time now = absl::FromUnixSeconds(1000);

 private:
  void Check();

  Scheduler scheduler_;
  FakeShard shard_;
  std::deque<BatchPlan> submitted_;
  std::deque<absl::Duration> times_;  // of each of these
  std::map<RequestId, Outcome> outcomes_;
  std::map<RequestId, std::vector<int32_t>> prompts_;
  RequestId next_id_ = 1;
};

// What HashedToken lets a request say first, n tokens of it.
std::vector<int32_t> Expected(SchedulerHarness& harness, RequestId id, int n);

}  // namespace drover::testing
