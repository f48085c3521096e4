#include "sharding/shard_process.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "sharding/channel_settings.h"
#include "sharding/exit_status.h"
#include "sharding/hosts/socket_calls.h"
#include "sharding/shard_failure.h"

namespace drover {
namespace {

// How long one that could not start may take to give its memory back: a device
// does so slowly.
constexpr absl::Duration kExitTime = absl::Seconds(5);

}  // namespace

absl::StatusOr<std::unique_ptr<ShardProcess>> ShardProcess::Start(
    Options options) {
  std::unique_ptr<ShardProcess> shard(new ShardProcess(std::move(options)));
  DROVER_RETURN_IF_ERROR(shard->Launch());
  return shard;
}

absl::Status ShardProcess::Launch() {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    return absl::InternalError(
        absl::StrCat("socketpair: ", std::strerror(errno)));
  }
  ChildProcess::Options child = {
      .program = options_.binary,
      .args = options_.args,
      .default_env = options_.default_env,
      .inherited_fd = sockets[1],
      .kept_fds = options_.kept_fds,
      .on_line = [this](std::string_view line) { OnLine(line); }};
  child.args.push_back(
      absl::StrCat("--router-fd=", ChildProcess::kInheritedFd));
  absl::StatusOr<std::unique_ptr<ChildProcess>> started =
      ChildProcess::Start(std::move(child));
  if (!started.ok()) {
    close(sockets[0]);
    return started.status();
  }
  child_ = *std::move(started);

  fcntl(sockets[0], F_SETFL, O_NONBLOCK);
  fd_ = sockets[0];
  return absl::OkStatus();
}

ShardProcess::~ShardProcess() {
  client_.reset();
  child_.reset();
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<ShardReady> ShardProcess::AwaitReady(absl::Duration timeout) {
  absl::StatusOr<ShardReady> ready = Connect(timeout);
  if (absl::IsDeadlineExceeded(ready.status())) {
    child_->Signal(SIGKILL);
    return absl::UnavailableError(absl::StrCat(
        options_.name, " was not ready after ", absl::FormatDuration(timeout)));
  }
  if (!ready.ok()) return CauseOfFailedStart(ready.status());
  return ready;
}

// While it loads, it does not answer: gRPC would take it for lost. It speaks
// first, or its end closes.
absl::StatusOr<ShardReady> ShardProcess::Connect(absl::Duration timeout) {
  const absl::Time start = Clock::Monotonic().Now();
  if (!WaitFor(fd_, POLLIN, timeout)) {
    return absl::DeadlineExceededError("it has not said a word");
  }
  client_ =
      std::make_unique<ShardClient>(grpc::CreateCustomInsecureChannelFromFd(
          "shard", std::exchange(fd_, -1),
          ChannelArguments(options_.patience)));
  return client_->Connect(options_.version, options_.model_fingerprint,
                          timeout - (Clock::Monotonic().Now() - start));
}

void ShardProcess::Abandon(const absl::Status& /*why*/) {
  child_->Signal(SIGKILL);
}

void ShardProcess::Start(std::function<void(StepResult)> on_result,
                         std::function<void(absl::Status)> on_end) {
  client_->Start(std::move(on_result), [this, on_end = std::move(on_end)](
                                           const absl::Status& status) {
    on_end(CauseOfEnd(status));
  });
}

void ShardProcess::Close(const absl::Status& /*why*/) {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  if (client_ != nullptr && client_->Close(options_.parting_time)) {
    child_->WaitForExit(options_.parting_time);
  }
}

void ShardProcess::OnLine(std::string_view line) {
  // "I loading …": what drover-shard logs. Anything else comes from a library
  // or a crash.
  const bool ours =
      line.size() > 2 && line[1] == ' ' &&
      std::string_view("DIWE").find(line[0]) != std::string_view::npos;
  const char level = ours ? line[0] : 'W';
  const std::string_view text = ours ? line.substr(2) : line;
  if (level == 'E' || (!ours && !text.empty())) {
    absl::MutexLock lock(&mutex_);
    (ours ? last_error_line_ : last_foreign_line_) = std::string(text);
  }
  if (options_.on_log) options_.on_log(level, text);
}

absl::Status ShardProcess::CauseOfFailedStart(const absl::Status& status) {
  const absl::Status cause = CauseOfEnd(status);
  if (child_->WaitForExit(kExitTime) &&
      child_->exit_status() == kExitDoesNotFit) {
    return absl::ResourceExhaustedError(cause.message());
  }
  return cause;
}

absl::Status ShardProcess::CauseOfEnd(const absl::Status& status) {
  if (client_ != nullptr && !client_->failure().ok()) {
    const absl::Status failure = client_->failure();
    return {CodeOfFailure(failure), failure.message()};
  }
  if (is_closing()) {
    return absl::UnavailableError(absl::StrCat(options_.name, " was let go"));
  }
  const bool exited =
      child_->WaitForExit(std::min(options_.parting_time, absl::Seconds(2)));
  absl::MutexLock lock(&mutex_);
  if (!last_error_line_.empty()) {
    return absl::UnavailableError(last_error_line_);
  }
  if (exited) {
    return absl::UnavailableError(absl::StrCat(
        options_.name, " ", child_->Epitaph(),
        last_foreign_line_.empty() ? "" : ": ", last_foreign_line_));
  }
  return absl::UnavailableError(absl::StrCat(
      "the stream of ", options_.name,
      " ended: ", status.ok() ? "it left" : std::string(status.message())));
}

}  // namespace drover
