#pragma once

#include <grpcpp/server.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/tls.h"

namespace drover {

// The public gRPC port: services of ours, grpc.health.v1 (for "" and
// fmaas.GenerationService) and server reflection. Compressed requests (gzip,
// deflate) are accepted. Thread-safe.
class GrpcFront {
 public:
  struct Options {
    std::string host = "0.0.0.0";
    int32_t port = 8033;                     // 0: any free one
    int64_t max_message_bytes = 4 << 20;     // of a request
    int64_t max_metadata_bytes = 16 * 1024;  // of a request's headers
    TlsOptions tls;
  };

  // Listens from here on, with health NOT_SERVING. The services outlive it.
  static absl::StatusOr<std::unique_ptr<GrpcFront>> Start(
      const Options& options, const std::vector<grpc::Service*>& services);

  // Cancels what is still under way.
  ~GrpcFront();

  GrpcFront(const GrpcFront&) = delete;
  GrpcFront& operator=(const GrpcFront&) = delete;

  int32_t port() const { return port_; }

  // What grpc.health.v1 answers.
  void SetServing(bool serving);

  // Takes no new call, waits up to `grace` for those under way, cancels the
  // rest and returns when every call has ended.
  void Shutdown(absl::Duration grace);

 private:
  GrpcFront() = default;

  std::unique_ptr<grpc::Server> server_;
  int32_t port_ = 0;
};

}  // namespace drover
