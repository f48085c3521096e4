#include "server/tls.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/status_macros.h"
#include "base/strings.h"

namespace drover {
namespace {

absl::Status BadFile(std::string_view flag, std::string_view path) {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return absl::FailedPreconditionError(
      StrCat(flag, " ", path, ": ", reason == nullptr ? "unusable" : reason));
}

// Nobody is there to be asked for a password.
int NoPassword(char*, int, int, void*) { return -1; }

// gRPC would start with files that do not fit, and fail at every connection.
absl::Status CheckFiles(const TlsOptions& options) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(
      SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  SSL_CTX_set_default_passwd_cb(context.get(), &NoPassword);
  if (SSL_CTX_use_certificate_chain_file(context.get(),
                                         options.cert_path.c_str()) != 1) {
    return BadFile("--tls-cert-path", options.cert_path);
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), options.key_path.c_str(),
                                  SSL_FILETYPE_PEM) != 1) {
    return BadFile("--tls-key-path", options.key_path);
  }
  if (!options.client_ca_cert_path.empty() &&
      SSL_CTX_load_verify_locations(
          context.get(), options.client_ca_cert_path.c_str(), nullptr) != 1) {
    return BadFile("--tls-client-ca-cert-path", options.client_ca_cert_path);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status TlsOptions::Validate() const {
  if (cert_path.empty() != key_path.empty()) {
    return absl::InvalidArgumentError(
        cert_path.empty()
            ? "--tls-cert-path is missing: --tls-key-path needs it"
            : "--tls-key-path is missing: --tls-cert-path needs it");
  }
  if (!client_ca_cert_path.empty() && !enabled()) {
    return absl::InvalidArgumentError(
        "--tls-cert-path is missing: --tls-client-ca-cert-path needs it");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TlsOptions& options) {
  DROVER_RETURN_IF_ERROR(options.Validate());
  if (!options.enabled()) return grpc::InsecureServerCredentials();
  DROVER_RETURN_IF_ERROR(CheckFiles(options));
  const bool is_mutual = !options.client_ca_cert_path.empty();
  grpc::experimental::TlsServerCredentialsOptions tls(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          options.key_path, options.cert_path, options.client_ca_cert_path,
          options.refresh_seconds));
  tls.watch_identity_key_cert_pairs();
  if (is_mutual) {
    tls.watch_root_certs();
    tls.set_cert_request_type(
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(tls);
}

}  // namespace drover
