#include "sharding/shard_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "sharding/shard_codec.h"

namespace drover {
namespace {

// Both enumerations carry the same numbers.
absl::Status ToAbsl(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()),
          status.error_message()};
}

}  // namespace

ShardClient::ShardClient(const std::shared_ptr<grpc::Channel>& channel)
    : stub_(shard::Shard::NewStub(channel)) {}

ShardClient::~ShardClient() {
  context_.TryCancel();
  absl::MutexLock lock(&mutex_);
  if (started_) mutex_.Await(absl::Condition(this, &ShardClient::is_done));
}

absl::StatusOr<ShardReady> ShardClient::Connect(
    const std::string& version, const std::string& model_fingerprint,
    absl::Duration timeout) {
  {
    absl::MutexLock lock(&mutex_);
    started_ = true;
  }
  stub_->async()->Run(&context_, this);
  StartRead(&incoming_);
  shard::RouterMessage hello;
  hello.mutable_hello()->set_version(version);
  hello.mutable_hello()->set_model_fingerprint(model_fingerprint);
  Enqueue(std::move(hello));
  // Plans are written from threads that are no reaction of the stream: it must
  // not end under them. Released when there is nothing more to read.
  AddHold();
  StartCall();

  absl::MutexLock lock(&mutex_);
  if (!mutex_.AwaitWithTimeout(
          absl::Condition(this, &ShardClient::is_ready_or_done), timeout)) {
    context_.TryCancel();
    mutex_.Await(absl::Condition(this, &ShardClient::is_done));
    return absl::DeadlineExceededError("the shard was not ready in time");
  }
  if (!ready_) {
    return end_status_.ok()
               ? absl::UnavailableError("the shard ended the stream")
               : end_status_;
  }
  return *ready_;
}

void ShardClient::Start(std::function<void(StepResult)> on_result,
                        std::function<void(absl::Status)> on_end) {
  absl::ReleasableMutexLock lock(&mutex_);
  on_result_ = std::move(on_result);
  if (!ended_) {
    on_end_ = std::move(on_end);
    return;
  }
  const absl::Status status = end_status_;
  lock.Release();
  on_end(status);
}

void ShardClient::Submit(const BatchPlan& plan) {
  shard::RouterMessage message;
  ToProto(plan, message.mutable_plan());
  Enqueue(std::move(message));
}

absl::Status ShardClient::failure() const {
  absl::MutexLock lock(&mutex_);
  return failure_;
}

bool ShardClient::Close(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  if (!started_) return true;
  closing_ = true;
  WriteNext();
  return mutex_.AwaitWithTimeout(absl::Condition(this, &ShardClient::is_done),
                                 timeout);
}

void ShardClient::Enqueue(shard::RouterMessage message) {
  absl::MutexLock lock(&mutex_);
  if (broken_ || closing_) return;
  outgoing_.push_back(std::move(message));
  WriteNext();
}

void ShardClient::WriteNext() {
  if (writing_ || broken_) return;
  if (!outgoing_.empty()) {
    writing_ = true;
    StartWrite(&outgoing_.front());
  } else if (closing_ && !half_closed_) {
    half_closed_ = true;
    StartWritesDone();
  }
}

void ShardClient::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  outgoing_.pop_front();
  if (ok) WriteNext();
}

void ShardClient::OnReadDone(bool ok) {
  if (!ok) {  // OnDone says why
    {
      absl::MutexLock lock(&mutex_);
      broken_ = true;
    }
    RemoveHold();
    return;
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
    // It waits for us to part, so that its words cannot be overtaken.
    closing_ = true;
    WriteNext();
  }
  StartRead(&incoming_);
}

void ShardClient::OnDone(const grpc::Status& status) {
  std::function<void(absl::Status)> on_end;
  absl::Status end_status = ToAbsl(status);
  {
    absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) end_status = failure_;
    end_status_ = end_status;
    ended_ = true;
    on_end = std::exchange(on_end_, nullptr);
  }
  if (on_end) on_end(end_status);
  absl::MutexLock lock(&mutex_);
  done_ = true;  // the last touch: the owner may destroy us from here on
}

}  // namespace drover
