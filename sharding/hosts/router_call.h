#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/shard.grpc.pb.h"
#include "scheduler/executor.h"
#include "sharding/hosts/router_stream.h"

namespace drover {

// One attempt at a stream to the router, and the thread that reads it. The
// states are those of RouterStream.
class RouterStream::Call {
 public:
  Call(const std::shared_ptr<grpc::Channel>& channel, const Options& options);
  // Cancels the stream if it is still up.
  ~Call();

  // Until the router has sent the Group; an error is the stream's end, or
  // DEADLINE_EXCEEDED.
  absl::Status AwaitGroup(absl::Duration timeout);
  const Group& group() const { return group_; }

  void Fail(const absl::Status& why);
  absl::Status Serve(Executor& executor, const DeviceFacts& device,
                     const OnOver& on_over);

 private:
  void ReadAll();
  void Handle(const shard::RouterMessage& message);
  // The last message, after which the router ends the stream.
  void WriteFailure(const absl::Status& why);
  void Write(const shard::ShardMessage& message);
  bool has_group_or_ended() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return has_group_ || end_status_.has_value();
  }
  bool has_failed_or_ended() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !failure_.ok() || end_status_.has_value();
  }
  bool has_ended() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return end_status_.has_value();
  }
  // Until the router has ended the stream, or some seconds.
  void AwaitEnd();

  const std::function<void(const absl::Status&)> on_lost_early_;
  grpc::ClientContext context_;
  std::unique_ptr<shard::Rendezvous::Stub> stub_;
  std::unique_ptr<
      grpc::ClientReaderWriter<shard::ShardMessage, shard::RouterMessage>>
      stream_;
  Group group_;  // once has_group_

  absl::Mutex write_mutex_;
  absl::Mutex mutex_;
  bool has_group_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_loading_ ABSL_GUARDED_BY(mutex_) = false;
  Executor* executor_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of plans
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);          // this rank's
  std::optional<absl::Status> end_status_ ABSL_GUARDED_BY(mutex_);
  std::thread reader_;
};

}  // namespace drover
