#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace drover {

// The files of the gRPC port's TLS, PEM. None: the port is plaintext.
struct TlsOptions {
  std::string cert_path;  // the server's chain, its own certificate first
  std::string key_path;
  // Whose certificates clients must show (mutual TLS); empty: none.
  std::string client_ca_cert_path;
  // How often the files are looked at: what replaced them counts for new
  // connections.
  unsigned refresh_seconds = 60;

  bool enabled() const { return !cert_path.empty(); }

  // INVALID_ARGUMENT names the flag that is missing.
  absl::Status Validate() const;
};

// FAILED_PRECONDITION names the file that cannot be read or used.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TlsOptions& options);

}  // namespace drover
