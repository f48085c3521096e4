#include "sharding/hosts/rendezvous_credentials.h"

#include <string>

#include "base/read_file.h"
#include "base/status_macros.h"

namespace drover {
namespace {

struct PemFiles {
  std::string cert;
  std::string key;
  std::string ca_cert;
};

absl::StatusOr<PemFiles> ReadPemFiles(const RendezvousSecurity& security) {
  DROVER_RETURN_IF_ERROR(security.Validate());
  PemFiles files;
  DROVER_ASSIGN_OR_RETURN(files.cert, ReadPemFile(security.tls_cert_path));
  DROVER_ASSIGN_OR_RETURN(files.key, ReadPemFile(security.tls_key_path));
  DROVER_ASSIGN_OR_RETURN(files.ca_cert,
                          ReadPemFile(security.tls_ca_cert_path));
  return files;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> RouterCredentials(
    const RendezvousSecurity& security) {
  if (security.insecure) return grpc::InsecureServerCredentials();
  DROVER_ASSIGN_OR_RETURN(const PemFiles files, ReadPemFiles(security));
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = files.ca_cert;
  options.pem_key_cert_pairs.push_back({files.key, files.cert});
  return grpc::SslServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> RankCredentials(
    const RendezvousSecurity& security) {
  if (security.insecure) return grpc::InsecureChannelCredentials();
  DROVER_ASSIGN_OR_RETURN(const PemFiles files, ReadPemFiles(security));
  return grpc::SslCredentials({.pem_root_certs = files.ca_cert,
                               .pem_private_key = files.key,
                               .pem_cert_chain = files.cert});
}

}  // namespace drover
