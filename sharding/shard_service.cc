#include "sharding/shard_service.h"

#include <fcntl.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "sharding/channel_settings.h"
#include "sharding/serve_shard.h"
#include "sharding/shard_codec.h"

namespace drover {
namespace {

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()),
          std::string(status.message())};
}

// Results and the reader's thread meet here: one write at a time, and none
// after a failure.
class ResultWriter {
 public:
  explicit ResultWriter(ShardService::Stream* stream) : stream_(stream) {}

  void Write(const absl::StatusOr<StepResult>& result) {
    absl::MutexLock lock(&mutex_);
    shard::ShardMessage message;
    if (result.ok()) {
      ToProto(*result, message.mutable_result());
      stream_->Write(message);
      return;
    }
    failure_ = result.status();
    ToProto(failure_, message.mutable_failure());
    stream_->Write(message);  // the router parts, which ends the reader's wait
  }

  absl::Status failure() const {
    absl::MutexLock lock(&mutex_);
    return failure_;
  }

 private:
  ShardService::Stream* const stream_;
  mutable absl::Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

ShardService::ShardService(Executor& executor, DeviceFacts device,
                           std::string version, std::string model_fingerprint)
    : executor_(executor),
      device_(std::move(device)),
      version_(std::move(version)),
      model_fingerprint_(std::move(model_fingerprint)) {}

grpc::Status ShardService::Run(grpc::ServerContext* /*context*/,
                               Stream* stream) {
  {
    absl::MutexLock lock(&mutex_);
    if (claimed_) {
      return {grpc::StatusCode::FAILED_PRECONDITION,
              "the shard already serves a router"};
    }
    claimed_ = true;
  }
  const absl::Status status = Serve(stream);
  absl::MutexLock lock(&mutex_);
  ended_ = true;
  end_status_ = status;
  return ToGrpc(status);
}

absl::Status ShardService::CheckHello(
    const shard::RouterMessage& message) const {
  if (!message.has_hello()) {
    return absl::FailedPreconditionError("the first message is not Hello");
  }
  const shard::Hello& hello = message.hello();
  if (hello.version() != version_) {
    return absl::FailedPreconditionError(
        absl::StrCat("the router is of version ", hello.version(),
                     ", the shard of version ", version_));
  }
  if (hello.model_fingerprint() != model_fingerprint_) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the router's model has fingerprint ", hello.model_fingerprint(),
        ", the shard's ", model_fingerprint_));
  }
  return absl::OkStatus();
}

absl::Status ShardService::Serve(Stream* stream) {
  shard::RouterMessage incoming;
  if (!stream->Read(&incoming)) {
    return absl::FailedPreconditionError("the router said nothing");
  }
  DROVER_RETURN_IF_ERROR(CheckHello(incoming));
  shard::ShardMessage ready;
  ToProto(executor_.info(), ready.mutable_ready());
  ToProto(device_, ready.mutable_ready()->mutable_device());
  stream->Write(ready);

  ResultWriter writer(stream);
  executor_.Start([&writer](const absl::StatusOr<StepResult>& result) {
    writer.Write(result);
  });
  absl::Status status;
  while (status.ok() && stream->Read(&incoming)) {
    if (incoming.has_plan()) {
      executor_.Submit(FromProto(incoming.plan()));
    } else {
      status = absl::FailedPreconditionError("expected a plan");
    }
  }
  executor_.Stop();
  return status.ok() ? writer.failure() : status;
}

absl::Status ShardService::WaitForEnd() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &ShardService::has_ended));
  return end_status_;
}

absl::Status ServeShard(Executor& executor, const DeviceFacts& device,
                        const std::string& version,
                        const std::string& model_fingerprint, int fd) {
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("descriptor ", fd, " is no socket of the router's"));
  }
  ShardService service(executor, device, version, model_fingerprint);
  grpc::ServerBuilder builder;
  // The router watches the shard, and the kernel the router.
  ConfigureServer(absl::InfiniteDuration(), builder);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::InternalError("gRPC does not start");
  grpc::AddInsecureChannelFromFd(server.get(), fd);
  const absl::Status status = service.WaitForEnd();
  server->Shutdown();
  return status;
}

}  // namespace drover
