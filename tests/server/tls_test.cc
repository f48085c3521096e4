#include "server/tls.h"

#include <grpcpp/client_context.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/read_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/health.grpc.pb.h"
#include "server/client/connection.h"
#include "server/grpc_front.h"
#include "tests/testing/certificates.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::AllOf;
using testing::CertificateAuthority;
using testing::CertificateFiles;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Read(const std::string& path) { return *ReadFile(path, 1 << 20); }

class TlsTest : public ::testing::Test {
 protected:
  void StartFront(const TlsOptions& tls) {
    auto front =
        GrpcFront::Start({.host = "127.0.0.1", .port = 0, .tls = tls}, {});
    ASSERT_THAT(front, IsOk());
    front_ = *std::move(front);
    front_->SetServing(true);
  }

  TlsOptions ServerFiles() const {
    return {.cert_path = server_.cert_path, .key_path = server_.key_path};
  }

  // What a health check ends with.
  grpc::Status Ask(const ClientTls& tls) const {
    const auto stub = grpc::health::v1::Health::NewStub(
        Connect("127.0.0.1:" + std::to_string(front_->port()), tls));
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckResponse response;
    return stub->Check(&context, grpc::health::v1::HealthCheckRequest(),
                       &response);
  }

  static ClientTls Trusting(const CertificateAuthority& authority) {
    return {.root_certs = Read(authority.cert_path())};
  }

  ClientTls Showing(const CertificateFiles& client) const {
    return {.root_certs = Read(authority_.cert_path()),
            .cert_chain = Read(client.cert_path),
            .private_key = Read(client.key_path)};
  }

  CertificateAuthority authority_;
  const CertificateFiles server_ = authority_.Issue("127.0.0.1");
  CertificateAuthority stranger_;
  std::unique_ptr<GrpcFront> front_;
};

TEST_F(TlsTest, ClientsThatTrustTheServerAreServed) {
  StartFront(ServerFiles());
  const grpc::Status trusting = Ask(Trusting(authority_));
  EXPECT_TRUE(trusting.ok()) << trusting.error_message();
  EXPECT_EQ(Ask(Trusting(stranger_)).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Ask(ClientTls()).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, WithAClientAuthorityClientsMustShowACertificateOfIt) {
  TlsOptions options = ServerFiles();
  options.client_ca_cert_path = authority_.cert_path();
  StartFront(options);
  const grpc::Status known = Ask(Showing(authority_.Issue("client")));
  EXPECT_TRUE(known.ok()) << known.error_message();
  EXPECT_EQ(Ask(Trusting(authority_)).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Ask(Showing(stranger_.Issue("client"))).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, FilesThatAreReplacedCountForNewConnections) {
  TlsOptions options = ServerFiles();
  options.refresh_seconds = 1;
  StartFront(options);
  const CertificateFiles renewed = stranger_.Issue("127.0.0.1");
  constexpr auto kOverwrite = std::filesystem::copy_options::overwrite_existing;
  std::filesystem::copy_file(renewed.key_path, options.key_path, kOverwrite);
  std::filesystem::copy_file(renewed.cert_path, options.cert_path, kOverwrite);
  grpc::Status status;
  do {  // ends with the test's own time limit if they never count
    status = Ask(Trusting(stranger_));
  } while (!status.ok());
  EXPECT_EQ(Ask(Trusting(authority_)).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, FilesThatCannotBeUsedAreNamed) {
  TlsOptions options = ServerFiles();
  options.cert_path = "/nonexistent.pem";
  EXPECT_THAT(MakeServerCredentials(options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       StartsWith("--tls-cert-path /nonexistent.pem: ")));
  options = ServerFiles();
  options.key_path = stranger_.Issue("127.0.0.1").key_path;
  EXPECT_THAT(
      MakeServerCredentials(options),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(StartsWith("--tls-key-path "), HasSubstr("mismatch"))));
  options = ServerFiles();
  options.client_ca_cert_path = options.key_path;
  EXPECT_THAT(MakeServerCredentials(options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       StartsWith("--tls-client-ca-cert-path ")));
}

TEST(TlsOptionsTest, CertificateAndKeyComeTogether) {
  EXPECT_THAT(TlsOptions().Validate(), IsOk());
  EXPECT_THAT((TlsOptions{.cert_path = "c"}.Validate()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       StartsWith("--tls-key-path is missing")));
  EXPECT_THAT((TlsOptions{.key_path = "k"}.Validate()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       StartsWith("--tls-cert-path is missing")));
  EXPECT_THAT((TlsOptions{.client_ca_cert_path = "a"}.Validate()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       StartsWith("--tls-cert-path is missing")));
}

}  // namespace
}  // namespace drover
