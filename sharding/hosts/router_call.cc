#include "sharding/hosts/router_call.h"

#include <utility>

#include "sharding/shard_codec.h"

namespace drover {
namespace {

// How long the router may take to hear of a failure and end the stream.
constexpr absl::Duration kPartingTime = absl::Seconds(5);

ShardSettings FromProto(const shard::ShardSettings& message) {
  return {.dtype = message.dtype(),
          .kv_cache_bytes = message.kv_cache_bytes(),
          .num_slots = message.num_slots(),
          .max_step_tokens = message.max_step_tokens(),
          .max_sequence_length = message.max_sequence_length(),
          .raw_logprobs = message.raw_logprobs(),
          .max_top_n = message.max_top_n()};
}

RouterStream::Group FromProto(const shard::Group& message) {
  RouterStream::Group group = {.secret = message.secret(),
                               .settings = FromProto(message.settings())};
  for (const shard::Group::Address& address : message.addresses()) {
    group.addresses.push_back({address.host(), address.port()});
  }
  return group;
}

shard::ShardMessage JoinMessage(const RouterStream::Options& options) {
  shard::ShardMessage message;
  shard::Join& join = *message.mutable_join();
  join.set_version(options.version);
  join.set_model_fingerprint(options.model_fingerprint);
  join.set_rank(options.rank);
  join.set_world_size(options.world_size);
  join.set_group_host(options.group_address.host);
  join.set_group_port(options.group_address.port);
  join.set_device(options.device);
  return message;
}

}  // namespace

RouterStream::Call::Call(const std::shared_ptr<grpc::Channel>& channel,
                         const Options& options)
    : on_lost_early_(options.on_lost_early),
      stub_(shard::Rendezvous::NewStub(channel)),
      stream_(stub_->Run(&context_)) {
  Write(JoinMessage(options));
  reader_ = std::thread([this] { ReadAll(); });
}

RouterStream::Call::~Call() {
  context_.TryCancel();
  reader_.join();
}

void RouterStream::Call::Write(const shard::ShardMessage& message) {
  absl::MutexLock lock(&write_mutex_);
  stream_->Write(message);  // a stream that is over says so when it is read
}

void RouterStream::Call::ReadAll() {
  shard::RouterMessage message;
  while (stream_->Read(&message)) Handle(message);
  const grpc::Status status = stream_->Finish();
  const absl::Status end(static_cast<absl::StatusCode>(status.error_code()),
                         status.error_message());
  bool is_early = false;
  {
    absl::MutexLock lock(&mutex_);
    end_status_ = end;
    is_early = is_loading_;
  }
  if (is_early && on_lost_early_) on_lost_early_(end);
}

void RouterStream::Call::Handle(const shard::RouterMessage& message) {
  absl::MutexLock lock(&mutex_);
  if (message.has_group() && !has_group_) {
    group_ = FromProto(message.group());
    has_group_ = true;
    is_loading_ = true;
  } else if (message.has_plan() && executor_ != nullptr) {
    executor_->Submit(::drover::FromProto(message.plan()));
  }
}

absl::Status RouterStream::Call::AwaitGroup(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  if (!mutex_.AwaitWithTimeout(absl::Condition(this, &Call::has_group_or_ended),
                               timeout)) {
    return absl::DeadlineExceededError("the other ranks did not come");
  }
  if (has_group_) return absl::OkStatus();
  return end_status_->ok() ? absl::UnavailableError("the router ended")
                           : *end_status_;
}

void RouterStream::Call::WriteFailure(const absl::Status& why) {
  shard::ShardMessage message;
  ToProto(why, message.mutable_failure());
  Write(message);
}

void RouterStream::Call::AwaitEnd() {
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(this, &Call::has_ended),
                          kPartingTime);
}

void RouterStream::Call::Fail(const absl::Status& why) {
  {
    absl::MutexLock lock(&mutex_);
    is_loading_ = false;
  }
  WriteFailure(why);
  AwaitEnd();
}

absl::Status RouterStream::Call::Serve(Executor& executor,
                                       const DeviceFacts& device,
                                       const OnOver& on_over) {
  executor.Start([this](const absl::StatusOr<StepResult>& result) {
    if (result.ok()) {
      shard::ShardMessage message;
      ToProto(*result, message.mutable_result());
      return Write(message);
    }
    WriteFailure(result.status());
    absl::MutexLock lock(&mutex_);
    failure_ = result.status();
  });
  {
    absl::MutexLock lock(&mutex_);
    is_loading_ = false;
    executor_ = &executor;
  }
  shard::ShardMessage ready;
  ToProto(executor.info(), ready.mutable_ready());
  ToProto(device, ready.mutable_ready()->mutable_device());
  Write(ready);
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &Call::has_failed_or_ended));
    executor_ = nullptr;
    status = failure_.ok() ? *end_status_ : failure_;
  }
  AwaitEnd();
  if (on_over) on_over(status);
  executor.Stop();
  return status;
}

}  // namespace drover
