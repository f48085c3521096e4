#include "sharding/hosts/rank_session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "sharding/hosts/host_port.h"
#include "sharding/shard_codec.h"
#include "sharding/shard_failure.h"

namespace drover {
namespace {

// How long the end of a stream may take to reach a rank.
constexpr absl::Duration kPartingTime = absl::Seconds(5);

}  // namespace

RankSession* RankSession::Open(grpc::CallbackServerContext* context,
                               AdmitCallback on_join, LeaveCallback on_leave) {
  const std::shared_ptr<RankSession> session(
      new RankSession(context, std::move(on_join), std::move(on_leave)));
  session->self_ = session;
  session->StartRead(&session->incoming_);
  return session.get();
}

RankSession::RankSession(grpc::CallbackServerContext* context,
                         AdmitCallback on_join, LeaveCallback on_leave)
    : context_(context),
      host_(HostOfPeer(context->peer())),
      on_join_(std::move(on_join)),
      on_leave_(std::move(on_leave)) {}

std::string RankSession::name() const {
  return absl::StrCat("the shard of rank ", rank_, " at ", host_);
}

void RankSession::OnReadDone(bool ok) {
  if (!ok) return End(absl::UnavailableError("the rank has left"));
  if (absl::Status status = Handle(); !status.ok()) return End(status);
  StartRead(&incoming_);
}

absl::Status RankSession::Handle() {
  if (rank_ < 0) {
    if (incoming_.has_join()) return on_join_(self_, incoming_.join());
    return absl::FailedPreconditionError("the first message is not Join");
  }
  if (incoming_.has_ready()) {
    absl::MutexLock lock(&mutex_);
    ready_ = ShardReady{.info = FromProto(incoming_.ready()),
                        .device = FromProto(incoming_.ready().device())};
  } else if (incoming_.has_result()) {
    std::function<void(StepResult)> on_result;
    {
      absl::MutexLock lock(&mutex_);
      on_result = on_result_;
    }
    if (on_result) on_result(FromProto(incoming_.result()));
  } else if (incoming_.has_failure()) {
    absl::MutexLock lock(&mutex_);
    failure_ = FromProto(incoming_.failure());
    return failure_;
  }
  return absl::OkStatus();
}

absl::StatusOr<ShardReady> RankSession::AwaitReady(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  if (!mutex_.AwaitWithTimeout(
          absl::Condition(this, &RankSession::is_ready_or_done), timeout)) {
    return absl::UnavailableError(absl::StrCat(name(), " was not ready after ",
                                               absl::FormatDuration(timeout)));
  }
  if (ready_.has_value()) return *ready_;
  return CauseOfEnd();
}

void RankSession::Abandon(const absl::Status& why) { Close(why); }

void RankSession::Start(std::function<void(StepResult)> on_result,
                        std::function<void(absl::Status)> on_end) {
  absl::ReleasableMutexLock lock(&mutex_);
  on_result_ = std::move(on_result);
  if (!done_) {
    on_end_ = std::move(on_end);
    return;
  }
  const absl::Status cause = CauseOfEnd();
  lock.Release();
  on_end(cause);
}

void RankSession::SendGroup(const shard::Group& group) {
  shard::RouterMessage message;
  *message.mutable_group() = group;
  Enqueue(std::move(message));
}

void RankSession::Submit(const BatchPlan& plan) {
  shard::RouterMessage message;
  ToProto(plan, message.mutable_plan());
  Enqueue(std::move(message));
}

void RankSession::Close(const absl::Status& why) {
  End(why);
  absl::MutexLock lock(&mutex_);
  if (mutex_.AwaitWithTimeout(absl::Condition(this, &RankSession::is_done),
                              kPartingTime)) {
    return;
  }
  context_->TryCancel();  // still there: OnDone waits for the lock
  mutex_.Await(absl::Condition(this, &RankSession::is_done));
}

void RankSession::End(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (!end_status_.has_value()) end_status_ = status;
  DoNext();
}

void RankSession::Enqueue(shard::RouterMessage message) {
  absl::MutexLock lock(&mutex_);
  if (end_status_.has_value()) return;
  outgoing_.push_back(std::move(message));
  DoNext();
}

void RankSession::DoNext() {
  if (writing_ || finished_) return;
  if (end_status_.has_value()) {
    finished_ = true;
    Finish({static_cast<grpc::StatusCode>(end_status_->code()),
            std::string(end_status_->message())});
  } else if (!outgoing_.empty()) {
    writing_ = true;
    StartWrite(&outgoing_.front());
  }
}

void RankSession::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  outgoing_.pop_front();
  if (!ok && !end_status_.has_value()) {
    end_status_ = absl::UnavailableError("the rank has left");
  }
  DoNext();
}

absl::Status RankSession::CauseOfEnd() const {
  if (!failure_.ok()) {
    return absl::Status(CodeOfFailure(failure_),
                        absl::StrCat(name(), ": ", failure_.message()));
  }
  if (end_status_.has_value() && !end_status_->ok()) {
    return absl::UnavailableError(
        absl::StrCat(name(), " is lost: its connection ended"));
  }
  return absl::UnavailableError(absl::StrCat(name(), " was let go"));
}

void RankSession::OnDone() {
  on_leave_(*this);
  std::function<void(absl::Status)> on_end;
  absl::Status cause;
  {
    absl::MutexLock lock(&mutex_);
    on_end = std::exchange(on_end_, nullptr);
    cause = CauseOfEnd();
  }
  if (on_end) on_end(cause);
  const std::shared_ptr<RankSession> last = std::move(self_);
  absl::MutexLock lock(&mutex_);
  done_ = true;
}

}  // namespace drover
