#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace drover {

// Where something listens: a name or an address, and a port.
struct HostPort {
  std::string host;
  int32_t port = 0;
};

// "router:8034", "10.0.0.1:8034", "[::1]:8034". INVALID_ARGUMENT begins with
// `flag`, which brought the text.
absl::StatusOr<HostPort> ParseHostPort(std::string_view flag,
                                       const std::string& text);

// The same the other way; IPv6 addresses in brackets.
std::string FormatHostPort(const HostPort& address);

// The address in what gRPC calls a peer: "ipv4:10.0.0.1:4242" or
// "ipv6:%5B::1%5D:4242". Empty for anything else.
std::string HostOfPeer(std::string_view peer);

// Whether only the same host can connect to it: 127.0.0.1 and the like.
bool IsLoopback(std::string_view host);

}  // namespace drover
