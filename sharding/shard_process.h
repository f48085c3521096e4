#pragma once

#include <sys/types.h>

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
#include "sharding/child_process.h"
#include "sharding/shard_client.h"
#include "sharding/shard_link.h"

namespace drover {

// The router's view of one shard: its process, its stream, and what it said
// last. Router and shard share a socket pair made before the shard starts: no
// name in the file system, nobody else can connect, and nothing is left behind.
class ShardProcess final : public ShardLink {
 public:
  struct Options {
    std::string name = "the shard";  // in errors
    std::string version;             // must equal the shard's
    std::string model_fingerprint;   // likewise
    std::string binary;
    std::vector<std::string> args;
    std::vector<std::string> default_env;            // see ChildProcess
    std::vector<int> kept_fds;                       // likewise
    absl::Duration patience = absl::Minutes(1);      // see ShardGroup
    absl::Duration parting_time = absl::Seconds(5);  // likewise
    // A line of its log. Levels: D, I, W, E. On a thread of this object's.
    std::function<void(char level, std::string_view text)> on_log;
  };

  // The process runs; it may still load.
  static absl::StatusOr<std::unique_ptr<ShardProcess>> Start(Options options);
  // Ends it: asks if Close was not called, then kills.
  ~ShardProcess() override;

  // ---- ShardLink ----
  absl::StatusOr<ShardReady> AwaitReady(absl::Duration timeout) override;
  void Abandon(const absl::Status& why) override;
  void Start(std::function<void(StepResult)> on_result,
             std::function<void(absl::Status)> on_end) override;
  void Submit(const BatchPlan& plan) override { client_->Submit(plan); }
  // Nothing before AwaitReady.
  void Close(const absl::Status& why) override;
  pid_t pid() const override { return child_->pid(); }

 private:
  explicit ShardProcess(Options options) : options_(std::move(options)) {}

  absl::Status Launch();
  absl::StatusOr<ShardReady> Connect(absl::Duration timeout);
  void OnLine(std::string_view line);
  absl::Status CauseOfFailedStart(const absl::Status& status);
  // Why the shard is gone, after its stream ended with `status`.
  absl::Status CauseOfEnd(const absl::Status& status);
  bool is_closing() {
    absl::MutexLock lock(&mutex_);
    return closing_;
  }

  const Options options_;
  absl::Mutex mutex_;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;  // its end needs no cause
  // Of the shard's own log, and of what a library or a crash printed.
  std::string last_error_line_ ABSL_GUARDED_BY(mutex_);
  std::string last_foreign_line_ ABSL_GUARDED_BY(mutex_);
  int fd_ = -1;  // of our end, until the client has it
  std::unique_ptr<ChildProcess> child_;
  std::unique_ptr<ShardClient> client_;  // null: it has not said a word
};

}  // namespace drover
