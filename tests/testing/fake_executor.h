#pragma once

#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "scheduler/executor.h"
#include "tests/testing/fake_shard.h"

namespace drover::testing {

// An executor over a FakeShard. By default its thread answers every plan at
// once; a held one answers only as many as the test lets through.
class FakeExecutor final : public Executor {
 public:
  struct Options {
    ExecutorInfo info = {.num_slots = 8,
                         .num_blocks = 65,
                         .max_step_tokens = 64,
                         .max_sequence_length = 512};
    NextToken model = HashedToken;
    bool held = false;
    // The step that fails, and how; 0: none.
    uint64_t failing_step = 0;
    absl::Status failure;
  };

  explicit FakeExecutor(Options options);
  ~FakeExecutor() override;

  const ExecutorInfo& info() const override { return options_.info; }
  void Start(ResultCallback on_result) override;
  void Submit(BatchPlan plan) override;
  void Stop() override;

  // Held: answers `count` more plans, waiting for nothing.
  void Let(int count);
  // From now on answers everything.
  void LetAll();
  // Waits until this many plans were submitted in all.
  void AwaitSubmitted(int count);
  // Plans submitted so far.
  std::vector<BatchPlan> plans() const;

 private:
  void Run();
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || (allowed_ > 0 && answered_ < plans_.size());
  }

  const Options options_;
  ResultCallback on_result_;
  mutable absl::Mutex mutex_;
  std::vector<BatchPlan> plans_ ABSL_GUARDED_BY(mutex_);
  size_t answered_ ABSL_GUARDED_BY(mutex_) = 0;
  int allowed_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  FakeShard shard_;  // the executor's thread
  std::thread thread_;
};

}  // namespace drover::testing
