#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "model/device_facts.h"
#include "proto/shard.grpc.pb.h"
#include "scheduler/executor.h"

namespace drover {

// The worker's end of the stream: serves one router with one executor, once.
class ShardService final : public shard::Shard::Service {
 public:
  using Stream =
      grpc::ServerReaderWriter<shard::ShardMessage, shard::RouterMessage>;

  // `executor` is ready, and outlives the service.
  ShardService(Executor& executor, DeviceFacts device, std::string version,
               std::string model_fingerprint);

  grpc::Status Run(grpc::ServerContext* context, Stream* stream) override;

  // Blocks until the router's stream has ended; OK if the router wanted it.
  absl::Status WaitForEnd();

 private:
  absl::Status CheckHello(const shard::RouterMessage& message) const;
  absl::Status Serve(Stream* stream);
  bool has_ended() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return ended_; }

  Executor& executor_;
  const DeviceFacts device_;
  const std::string version_;
  const std::string model_fingerprint_;

  absl::Mutex mutex_;
  bool claimed_ ABSL_GUARDED_BY(mutex_) = false;  // a router is here
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status end_status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace drover
