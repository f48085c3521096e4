#include "sharding/hosts/host_port.h"

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "base/strings.h"

namespace drover {

absl::StatusOr<HostPort> ParseHostPort(std::string_view flag,
                                       const std::string& text) {
  const size_t colon = text.rfind(':');
  HostPort address;
  const bool has_port =
      colon != std::string::npos &&
      absl::SimpleAtoi(text.substr(colon + 1), &address.port) &&
      address.port >= 0 && address.port <= 65535;
  if (has_port) address.host = text.substr(0, colon);
  const bool in_brackets = address.host.size() > 2 &&
                           address.host.front() == '[' &&
                           address.host.back() == ']';
  if (in_brackets) address.host = text.substr(1, colon - 2);
  const bool is_ipv6 = address.host.find(':') != std::string::npos;
  if (!has_port || address.host.empty() || address.host == "[]" ||
      is_ipv6 != in_brackets) {
    return absl::InvalidArgumentError(StrCat(
        flag, " ", text, ": expected HOST:PORT, an IPv6 address in brackets"));
  }
  return address;
}

std::string FormatHostPort(const HostPort& address) {
  const bool is_ipv6 = address.host.find(':') != std::string::npos;
  return is_ipv6 ? StrCat("[", address.host, "]:", address.port)
                 : StrCat(address.host, ":", address.port);
}

std::string HostOfPeer(std::string_view peer) {
  const size_t scheme = peer.find(':');
  const size_t port = peer.rfind(':');
  if (scheme == std::string_view::npos || port <= scheme) return "";
  const std::string_view family = peer.substr(0, scheme);
  if (family != "ipv4" && family != "ipv6") return "";
  return absl::StrReplaceAll(
      ToAbsl(peer.substr(scheme + 1, port - scheme - 1)),
      {{"%5B", ""}, {"%5D", ""}, {"[", ""}, {"]", ""}, {"%25", "%"}});
}

bool IsLoopback(std::string_view host) {
  return host.substr(0, 4) == "127." || host == "::1" || host == "localhost";
}

}  // namespace drover
