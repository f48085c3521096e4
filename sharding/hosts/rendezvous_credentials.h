#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/statusor.h"
#include "sharding/hosts/rendezvous_security.h"

namespace drover {

// Of the router, which wants a certificate of everybody; and of a rank. Errors
// name the file that cannot be read.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> RouterCredentials(
    const RendezvousSecurity& security);
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> RankCredentials(
    const RendezvousSecurity& security);

}  // namespace drover
