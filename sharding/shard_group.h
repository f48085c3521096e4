#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "model/device_facts.h"
#include "scheduler/executor.h"
#include "sharding/hosts/rendezvous.h"
#include "sharding/rank_agreement.h"
#include "sharding/ranks/shared_memory.h"
#include "sharding/shard_link.h"
#include "sharding/step_watch.h"

namespace drover {

// The router's view of the shards, which run one model together: starts them on
// this host, passing their log on, or waits for those of other hosts; and
// speaks to them. An Executor whose work happens elsewhere: all ranks get the
// same plans, the first one's results count, and the group is lost with any of
// them.
class ShardGroup final : public Executor {
 public:
  struct Options {
    std::string shard_binary;
    std::vector<std::string> shard_args;
    std::vector<std::string> shard_default_env;  // see ChildProcess
    int32_t num_shards = 1;
    std::string version = DROVER_VERSION;
    std::string model_fingerprint;
    absl::Duration start_timeout = absl::Minutes(10);
    // A shard that does not answer for twice as long is lost, whatever it does.
    absl::Duration patience = absl::Minutes(1);
    // So is one that answers but has had a plan for five times as long as this
    // and given no result. Unset: patience, but at least a minute, which a step
    // may take on a CPU.
    std::optional<absl::Duration> step_patience;
    // How long shards may take to finish their step and leave.
    absl::Duration parting_time = absl::Seconds(5);
    // Somebody else starts the shards, which come to it: nothing that is said
    // about programs here counts.
    std::optional<RendezvousOptions> rendezvous;
    // A line of a shard's log. Levels: D, I, W, E. On threads of the group's,
    // one for each shard.
    std::function<void(char level, std::string_view text)> on_log;
  };

  // Starts the shards, or waits for them, until they are ready. The status of
  // those that cannot start carries what the first of them said last:
  // RESOURCE_EXHAUSTED if the model does not fit into memory, UNAVAILABLE
  // otherwise.
  static absl::StatusOr<std::unique_ptr<ShardGroup>> Launch(Options options);
  // Ends the shards: asks, waits, kills.
  ~ShardGroup() override;

  // ---- Executor ----
  const ExecutorInfo& info() const override { return info_; }
  void Start(ResultCallback on_result) override;
  void Submit(BatchPlan plan) override;
  void Stop() override;

  // What the first shard's executor runs on.
  const DeviceFacts& device() const { return device_; }
  pid_t shard_pid(size_t rank = 0) const { return shards_[rank]->pid(); }

 private:
  explicit ShardGroup(Options options)
      : options_(std::move(options)),
        agreement_(static_cast<size_t>(options_.num_shards)),
        step_watch_(static_cast<size_t>(options_.num_shards)) {}

  // On threads of their own; returns when all are done.
  void ForEachRankAtOnce(const std::function<void(size_t rank)>& run) const;
  absl::Status StartShards();
  absl::StatusOr<std::shared_ptr<ShardLink>> StartShard(int32_t rank);
  absl::Status GatherShards();
  absl::Status AwaitReady(absl::Duration timeout);
  void AwaitShard(size_t rank, absl::Duration timeout);
  void OnResult(size_t rank, StepResult result);
  void Deliver(absl::StatusOr<StepResult> result);
  void OnEnd(const absl::Status& cause);
  // Until Stop, or until a rank is stuck.
  void WatchSteps();
  bool AwaitStop(absl::Duration timeout);
  // Ranks stop waiting for each other.
  void EndTheirWait();

  const Options options_;
  // For tests, and whoever doubts a kernel: see docs/testing.md.
  const bool compares_ranks_ = std::getenv("DROVER_VALIDATE_RANKS") != nullptr;
  RankAgreement agreement_;
  StepWatch step_watch_;
  ExecutorInfo info_;
  DeviceFacts device_;
  absl::Mutex mutex_;
  ResultCallback on_result_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status loss_ ABSL_GUARDED_BY(mutex_);  // the first one's cause
  std::unique_ptr<SharedMemory> memory_;       // null: one rank, or other hosts
  std::unique_ptr<Rendezvous> rendezvous_;
  std::vector<std::shared_ptr<ShardLink>> shards_;  // by rank
  std::thread watcher_;                             // runs WatchSteps
};

}  // namespace drover
