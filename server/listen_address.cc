#include "server/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/strings.h"

namespace drover {
namespace {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// 0 and at least one address, or getaddrinfo's error.
int Resolve(const std::string& host, int32_t port, AddressList& addresses) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(host.c_str(), StrCat(port).c_str(), &hints, &found);
  addresses.reset(found);
  return error;
}

// 0, or the errno of the first call that failed.
int TryListen(const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  int error = 0;
  if (bind(fd, address.ai_addr, address.ai_addrlen) != 0 ||
      listen(fd, /*backlog=*/1) != 0) {
    error = errno;
  }
  close(fd);
  return error;
}

}  // namespace

std::string JoinHostPort(std::string_view host, int32_t port) {
  const bool is_ipv6 = host.find(':') != std::string_view::npos;
  return is_ipv6 ? StrCat("[", host, "]:", port) : StrCat(host, ":", port);
}

absl::Status CheckCanListen(std::string_view flag, const std::string& host,
                            int32_t port) {
  AddressList addresses(nullptr, &freeaddrinfo);
  if (const int lookup = Resolve(host, port, addresses); lookup != 0) {
    return absl::InvalidArgumentError(
        StrCat("--host ", host, ": ", gai_strerror(lookup)));
  }
  const int error = TryListen(*addresses);
  if (error == 0) return absl::OkStatus();
  if (error == EADDRINUSE) {
    return absl::UnavailableError(
        StrCat(flag, " ", port, ": the port is already in use on ", host,
               "; choose another, or 0 for any free one"));
  }
  return absl::InvalidArgumentError(
      StrCat("cannot listen on ", JoinHostPort(host, port), " (--host and ",
             flag, "): ", std::strerror(error)));
}

void ConnectOnce(const std::string& host, int32_t port) {
  AddressList addresses(nullptr, &freeaddrinfo);
  if (Resolve(host, port, addresses) != 0) return;
  const int fd = socket(addresses->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  // Whether it succeeds does not matter.
  static_cast<void>(connect(fd, addresses->ai_addr, addresses->ai_addrlen) ==
                    0);
  close(fd);
}

}  // namespace drover
