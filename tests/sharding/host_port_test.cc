#include "sharding/hosts/host_port.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::HasSubstr;

TEST(HostPortTest, NamesAndAddressesAreReadAndWritten) {
  struct Row {
    const char* text;
    const char* host;
    int32_t port;
  };
  for (const Row& row :
       {Row{"router:8034", "router", 8034}, Row{"10.0.0.1:0", "10.0.0.1", 0},
        Row{"[::1]:65535", "::1", 65535},
        Row{"a.b.svc.cluster.local:1", "a.b.svc.cluster.local", 1}}) {
    const auto address = ParseHostPort("--rendezvous", row.text);
    ASSERT_THAT(address, IsOk()) << row.text;
    EXPECT_EQ(address->host, row.host);
    EXPECT_EQ(address->port, row.port);
    EXPECT_EQ(FormatHostPort(*address), row.text);
  }
}

TEST(HostPortTest, AnythingElseIsRefusedWithItsFlag) {
  for (const char* text :
       {"", "router", "router:", ":8034", "router:http", "router:65536",
        "router:-1", "::1:8034", "[::1]", "[router]:8034", "[]:8034"}) {
    EXPECT_THAT(
        ParseHostPort("--rendezvous", text),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--rendezvous")))
        << text;
  }
}

TEST(HostPortTest, WhatGrpcCallsAPeerHasAnAddress) {
  EXPECT_EQ(HostOfPeer("ipv4:10.0.0.1:4242"), "10.0.0.1");
  EXPECT_EQ(HostOfPeer("ipv6:%5B::1%5D:4242"), "::1");
  EXPECT_EQ(HostOfPeer("ipv6:[fe80::1%25eth0]:4242"), "fe80::1%eth0");
  EXPECT_EQ(HostOfPeer("unix:/tmp/socket"), "");
  EXPECT_EQ(HostOfPeer(""), "");
}

TEST(HostPortTest, LoopbackAddressesAreToldFromOthers) {
  EXPECT_TRUE(IsLoopback("127.0.0.1"));
  EXPECT_TRUE(IsLoopback("::1"));
  EXPECT_FALSE(IsLoopback("10.127.0.1"));
}

}  // namespace
}  // namespace drover
