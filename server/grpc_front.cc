#include "server/grpc_front.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>

#include "base/status_macros.h"
#include "base/strings.h"
#include "server/listen_address.h"

namespace drover {
namespace {

// A client that vanished without a word is noticed after this and its timeout.
constexpr int kKeepaliveMillis = 30'000;
constexpr int kKeepaliveTimeoutMillis = 20'000;
// How often a client may ping while its prompt is being worked on.
constexpr int kMinClientPingMillis = 5'000;

void SetChannelArguments(grpc::ServerBuilder& builder,
                         const GrpcFront::Options& options) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                             static_cast<int>(options.max_metadata_bytes));
  // A second server on the same port must fail, not share its connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMillis);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             kKeepaliveTimeoutMillis);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
      kMinClientPingMillis);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcFront>> GrpcFront::Start(
    const Options& options, const std::vector<grpc::Service*>& services) {
  DROVER_RETURN_IF_ERROR(
      CheckCanListen("--grpc-port", options.host, options.port));
  DROVER_ASSIGN_OR_RETURN(const auto credentials,
                          MakeServerCredentials(options.tls));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetChannelArguments(builder, options);
  const std::string address = JoinHostPort(options.host, options.port);
  std::unique_ptr<GrpcFront> front(new GrpcFront);
  builder.AddListeningPort(address, credentials, &front->port_);
  for (grpc::Service* service : services) builder.RegisterService(service);
  front->server_ = builder.BuildAndStart();
  if (front->server_ == nullptr || front->port_ == 0) {
    return absl::UnavailableError(
        StrCat("cannot serve gRPC on ", address, " (--host and --grpc-port)"));
  }
  front->SetServing(false);
  return front;
}

GrpcFront::~GrpcFront() {
  if (server_ != nullptr) Shutdown(absl::ZeroDuration());
}

void GrpcFront::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus("", serving);
  health->SetServingStatus("fmaas.GenerationService", serving);
}

void GrpcFront::Shutdown(absl::Duration grace) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
}

}  // namespace drover
