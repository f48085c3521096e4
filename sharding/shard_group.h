#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "model/device_facts.h"
#include "scheduler/executor.h"
#include "sharding/child_process.h"
#include "sharding/shard_client.h"

namespace drover {

// The router's view of the shard processes: starts them, speaks to them, and
// passes their log on. An Executor whose work happens elsewhere.
//
// Router and shard share a socket pair made before the shard starts: no name in
// the file system, nobody else can connect, and nothing is left behind.
class ShardGroup final : public Executor {
 public:
  struct Options {
    std::string shard_binary;
    std::vector<std::string> shard_args;
    std::vector<std::string> shard_default_env;  // see ChildProcess
    std::string version = DROVER_VERSION;
    std::string model_fingerprint;
    absl::Duration start_timeout = absl::Minutes(10);
    // A line of the shard's log. Levels: D, I, W, E. On a thread of the
    // group's.
    std::function<void(char level, std::string_view text)> on_log;
  };

  // Starts the shard and waits until it is ready. The status of a shard that
  // cannot start carries what it said last: RESOURCE_EXHAUSTED if the model
  // does not fit into memory, UNAVAILABLE otherwise.
  static absl::StatusOr<std::unique_ptr<ShardGroup>> Launch(Options options);
  // Ends the shard: asks, waits, kills.
  ~ShardGroup() override;

  // ---- Executor ----
  const ExecutorInfo& info() const override { return info_; }
  void Start(ResultCallback on_result) override;
  void Submit(BatchPlan plan) override;
  void Stop() override;

  // What the shard's executor runs on.
  const DeviceFacts& device() const { return device_; }
  pid_t shard_pid() const { return child_->pid(); }

 private:
  explicit ShardGroup(Options options) : options_(std::move(options)) {}

  absl::Status Connect();
  void OnLine(std::string_view line);
  void Deliver(absl::StatusOr<StepResult> result);
  // As CauseOfEnd; RESOURCE_EXHAUSTED if the model does not fit.
  absl::Status CauseOfFailedStart(const absl::Status& status);
  // Why the shard is gone, after its stream ended with `status`.
  absl::Status CauseOfEnd(const absl::Status& status);

  const Options options_;
  ExecutorInfo info_;
  DeviceFacts device_;
  absl::Mutex mutex_;
  // Of the shard's own log, and of what a library or a crash printed.
  std::string last_error_line_ ABSL_GUARDED_BY(mutex_);
  std::string last_foreign_line_ ABSL_GUARDED_BY(mutex_);
  ResultCallback on_result_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<ChildProcess> child_;
  std::unique_ptr<ShardClient> client_;
};

}  // namespace drover
