#include "sharding/hosts/router_stream.h"

#include <grpcpp/create_channel.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "sharding/channel_settings.h"
#include "sharding/hosts/rendezvous_credentials.h"
#include "sharding/hosts/router_call.h"

namespace drover {
namespace {

constexpr absl::Duration kRetryInterval = absl::Milliseconds(200);

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(
    const RouterStream::Options& options) {
  DROVER_ASSIGN_OR_RETURN(const auto credentials,
                          RankCredentials(options.security));
  const auto retry =
      static_cast<int>(absl::ToInt64Milliseconds(kRetryInterval));
  grpc::ChannelArguments arguments = ChannelArguments(options.patience);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, retry);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5 * retry);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5 * retry);
  return grpc::CreateCustomChannel(FormatHostPort(options.rendezvous),
                                   credentials, arguments);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RouterStream>> RouterStream::Join(
    Options options) {
  DROVER_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel,
                          MakeChannel(options));
  const Clock& clock = Clock::Monotonic();
  const absl::Time deadline = clock.Now() + options.start_timeout;
  std::string last_error;
  while (true) {
    auto call = std::make_unique<Call>(channel, options);
    const absl::Status status = call->AwaitGroup(deadline - clock.Now());
    if (status.ok()) {
      return std::unique_ptr<RouterStream>(new RouterStream(std::move(call)));
    }
    const std::string error(status.message());
    if (absl::IsDeadlineExceeded(status) ||
        clock.Now() + kRetryInterval >= deadline) {
      return absl::UnavailableError(absl::StrCat(
          "no group at the rendezvous ", FormatHostPort(options.rendezvous),
          " in ", absl::FormatDuration(options.start_timeout), ": ", error));
    }
    if (!absl::IsUnavailable(status)) return status;
    if (error != last_error && options.on_log) {
      options.on_log(absl::StrCat("waits for the router at ",
                                  FormatHostPort(options.rendezvous), ": ",
                                  error));
    }
    last_error = error;
    absl::SleepFor(kRetryInterval);
  }
}

RouterStream::RouterStream(std::unique_ptr<Call> call)
    : call_(std::move(call)) {}

RouterStream::~RouterStream() = default;

const RouterStream::Group& RouterStream::group() const {
  return call_->group();
}

void RouterStream::Fail(const absl::Status& why) { call_->Fail(why); }

absl::Status RouterStream::Serve(Executor& executor, const DeviceFacts& device,
                                 const OnOver& on_over) {
  return call_->Serve(executor, device, on_over);
}

}  // namespace drover
