#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/shard.grpc.pb.h"
#include "scheduler/batch_plan.h"
#include "sharding/shard_link.h"

namespace drover {

// The router's end of one shard's stream. Thread-safe.
class ShardClient final : public grpc::ClientBidiReactor<shard::RouterMessage,
                                                         shard::ShardMessage> {
 public:
  explicit ShardClient(const std::shared_ptr<grpc::Channel>& channel);
  // Cancels the stream if it is still up, and waits for its end.
  ~ShardClient() override;

  // Opens the stream, says hello and waits for Ready. On failure the stream is
  // over.
  absl::StatusOr<ShardReady> Connect(const std::string& version,
                                     const std::string& model_fingerprint,
                                     absl::Duration timeout);

  // `on_result` and, once, `on_end` run on gRPC's threads. Right after Connect.
  void Start(std::function<void(StepResult)> on_result,
             std::function<void(absl::Status)> on_end);

  // Never blocks. Dropped if the stream is over.
  void Submit(const BatchPlan& plan);

  // What the shard said it failed of; OK if it said nothing of the kind.
  absl::Status failure() const;

  // No more plans. True if the shard ended the stream within `timeout`.
  bool Close(absl::Duration timeout);

 private:
  void OnWriteDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  void Enqueue(shard::RouterMessage message);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool is_ready_or_done() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return ready_.has_value() || done_;
  }
  bool is_done() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return done_; }

  std::unique_ptr<shard::Shard::Stub> stub_;
  grpc::ClientContext context_;
  shard::ShardMessage incoming_;  // the read in progress

  mutable absl::Mutex mutex_;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;   // nothing may be started
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;    // end_status_ is known
  bool done_ ABSL_GUARDED_BY(mutex_) = false;     // and everybody was told
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);  // as the shard told it
  absl::Status end_status_ ABSL_GUARDED_BY(mutex_);
  // The front one is being written; it must stay put until that is done.
  std::deque<shard::RouterMessage> outgoing_ ABSL_GUARDED_BY(mutex_);
  std::optional<ShardReady> ready_ ABSL_GUARDED_BY(mutex_);
  std::function<void(StepResult)> on_result_ ABSL_GUARDED_BY(mutex_);
  std::function<void(absl::Status)> on_end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace drover
