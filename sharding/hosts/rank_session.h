#pragma once

#include <grpcpp/server_context.h>

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
#include "sharding/shard_link.h"

namespace drover {

// The router's end of the stream of a rank that came to the rendezvous.
//
//   made ──Join──► admitted ──Group──► in the group ──Ready──► serving
//     │ refused       │ left              │ left                 │ left, Close
//     ▼               ▼                   ▼                      ▼
//   ended: everybody who waits or called Start is told
//
// Lives until its stream has ended, whoever else holds it. Thread-safe.
class RankSession final
    : public grpc::ServerBidiReactor<shard::ShardMessage, shard::RouterMessage>,
      public ShardLink {
 public:
  // Decides about a rank: an error ends its stream. On gRPC's threads.
  using AdmitCallback = std::function<absl::Status(
      const std::shared_ptr<RankSession>&, const shard::Join&)>;
  using LeaveCallback = std::function<void(const RankSession&)>;

  // Starts to read. on_leave comes once, when the stream has ended.
  static RankSession* Open(grpc::CallbackServerContext* context,
                           AdmitCallback on_join, LeaveCallback on_leave);

  // Its address, as the router sees it.
  const std::string& host() const { return host_; }
  // Named by it in errors; for whoever admits it, before anybody else has it.
  void set_rank(int32_t rank) { rank_ = rank; }
  int32_t rank() const { return rank_; }

  void SendGroup(const shard::Group& group);

  // ---- ShardLink ----
  absl::StatusOr<ShardReady> AwaitReady(absl::Duration timeout) override;
  void Abandon(const absl::Status& why) override;
  void Start(std::function<void(StepResult)> on_result,
             std::function<void(absl::Status)> on_end) override;
  void Submit(const BatchPlan& plan) override;
  void Close(const absl::Status& why) override;
  pid_t pid() const override { return 0; }

 private:
  RankSession(grpc::CallbackServerContext* context, AdmitCallback on_join,
              LeaveCallback on_leave);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

  // OK: read on.
  absl::Status Handle();
  void End(const absl::Status& status);
  void Enqueue(shard::RouterMessage message);
  void DoNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CauseOfEnd() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  std::string name() const;
  bool is_ready_or_done() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return ready_.has_value() || done_;
  }
  bool is_done() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return done_; }

  grpc::CallbackServerContext* const context_;
  const std::string host_;
  const AdmitCallback on_join_;
  const LeaveCallback on_leave_;
  std::shared_ptr<RankSession> self_;  // until the stream has ended
  shard::ShardMessage incoming_;       // the read in progress
  int32_t rank_ = -1;                  // -1: has not joined

  absl::Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;  // nothing may be started
  bool done_ ABSL_GUARDED_BY(mutex_) = false;      // and everybody was told
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);   // as the rank told it
  // The end that is wanted, once what is being written is out.
  std::optional<absl::Status> end_status_ ABSL_GUARDED_BY(mutex_);
  // The front one is being written; it must stay put until that is done.
  std::deque<shard::RouterMessage> outgoing_ ABSL_GUARDED_BY(mutex_);
  std::optional<ShardReady> ready_ ABSL_GUARDED_BY(mutex_);
  std::function<void(StepResult)> on_result_ ABSL_GUARDED_BY(mutex_);
  std::function<void(absl::Status)> on_end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace drover
