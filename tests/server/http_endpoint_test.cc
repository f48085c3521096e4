#include "server/http_endpoint.h"

#include <memory>
#include <string>
#include <vector>

#include "base/strings.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/listen_address.h"
#include "tests/server/http_client.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::HttpExchange;
using ::testing::StartsWith;

constexpr char kLocalhost[] = "127.0.0.1";

class HttpEndpointTest : public ::testing::Test {
 protected:
  HttpEndpointTest() {
    auto started = HttpEndpoint::Start({.host = kLocalhost, .port = 0}, health_,
                                       [] { return "some 1\n"; });
    EXPECT_THAT(started, IsOk());
    endpoint_ = *std::move(started);
  }

  std::string Get(const std::string& path) {
    return HttpExchange(endpoint_->port(), "GET", path);
  }

  Health health_;
  std::unique_ptr<HttpEndpoint> endpoint_;
};

TEST_F(HttpEndpointTest, TheProbesFollowTheHealth) {
  EXPECT_THAT(Get("/health/live"), StartsWith("HTTP/1.1 200 OK\r\n"));
  for (const auto& [path, why] : {std::pair("/health", "unhealthy"),
                                  std::pair("/health/ready", "starting")}) {
    EXPECT_THAT(Get(path),
                AllOf(StartsWith("HTTP/1.1 503 "),
                      EndsWith(StrCat("\r\n\r\n{\"error\":\"", why, "\"}"))));
  }
  health_.MarkReady([] { return true; });
  for (const char* path : {"/health", "/health/ready", "/health/live"}) {
    EXPECT_THAT(Get(path),
                AllOf(StartsWith("HTTP/1.1 200 "), EndsWith("\r\n\r\n")));
  }
  health_.MarkDraining();
  EXPECT_THAT(Get("/health/live"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Get("/health/ready"), EndsWith("{\"error\":\"draining\"}"));
  EXPECT_THAT(Get("/health"), EndsWith("{\"error\":\"unhealthy\"}"));
  health_.MarkFailed();
  EXPECT_THAT(Get("/health/live"), StartsWith("HTTP/1.1 503 "));
}

TEST_F(HttpEndpointTest, ConnectionsThatSayNothingDoNotHoldUpAProbe) {
  auto patient = HttpEndpoint::Start(
      {.host = kLocalhost, .port = 0, .request_timeout = absl::Hours(1)},
      health_, [] { return ""; });
  ASSERT_THAT(patient, IsOk());
  const int32_t port = (*patient)->port();
  std::vector<testing::IdleConnection> idle;
  for (int i = 0; i < 20; ++i) idle.emplace_back(port);
  EXPECT_THAT(HttpExchange(port, "GET", "/health/live"),
              StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpEndpointTest, MetricsAreText) {
  EXPECT_THAT(Get("/metrics"),
              AllOf(StartsWith("HTTP/1.1 200 "),
                    HasSubstr("Content-Type: text/plain; version=0.0.4\r\n"),
                    EndsWith("\r\n\r\nsome 1\n")));
}

TEST_F(HttpEndpointTest, HeadGivesTheHeadersOnly) {
  EXPECT_THAT(HttpExchange(endpoint_->port(), "HEAD", "/metrics"),
              AllOf(HasSubstr("Content-Length: 7\r\n"), EndsWith("\r\n\r\n")));
}

TEST_F(HttpEndpointTest, NothingElseIsServed) {
  for (const char* path : {"/", "/generate", "/health/", "/metrics/x"}) {
    EXPECT_THAT(Get(path), StartsWith("HTTP/1.1 404 ")) << path;
  }
  EXPECT_THAT(
      HttpExchange(endpoint_->port(), "POST", "/health"),
      AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("Allow: GET, HEAD\r\n")));
}

TEST_F(HttpEndpointTest, ATakenPortIsNamed) {
  const auto second =
      HttpEndpoint::Start({.host = kLocalhost, .port = endpoint_->port()},
                          health_, [] { return ""; });
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(StartsWith("--port " + std::to_string(endpoint_->port())),
                    HasSubstr("already in use")));
}

TEST_F(HttpEndpointTest, ThePortIsFreeAfterTheEnd) {
  const int32_t port = endpoint_->port();
  endpoint_.reset();
  EXPECT_EQ(HttpExchange(port, "GET", "/health"), "");
  EXPECT_THAT(CheckCanListen("--port", kLocalhost, port), IsOk());
}

TEST_F(HttpEndpointTest, AnIpv6AddressIsServedOrRefusedByName) {
  if (!CheckCanListen("--port", "::1", 0).ok()) GTEST_SKIP() << "no IPv6";
  const auto on_ipv6 = HttpEndpoint::Start({.host = "::1", .port = 0}, health_,
                                           [] { return ""; });
  if (on_ipv6.ok()) return;
  EXPECT_THAT(on_ipv6.status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("--host ::1: the HTTP library here")));
}

TEST(ListenAddressTest, AnAddressOfAnotherMachineIsRefused) {
  // TEST-NET-1: nobody's.
  const absl::Status status = CheckCanListen("--grpc-port", "192.0.2.1", 0);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("--host"));
}

TEST(ListenAddressTest, Ipv6AddressesAreBracketed) {
  EXPECT_EQ(JoinHostPort("::", 1), "[::]:1");
  EXPECT_EQ(JoinHostPort("localhost", 1), "localhost:1");
}

}  // namespace
}  // namespace drover
