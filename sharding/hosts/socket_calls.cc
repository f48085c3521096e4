#include "sharding/hosts/socket_calls.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"

namespace drover {
namespace {

constexpr int kBacklog = 128;

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<AddressList> Resolve(const HostPort& address, int flags) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                  std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat(FormatHostPort(address), ": ", gai_strerror(error)));
  }
  return AddressList(found, &freeaddrinfo);
}

absl::Status SystemError(const HostPort& address, int error) {
  return absl::UnavailableError(
      absl::StrCat(FormatHostPort(address), ": ", std::strerror(error)));
}

void SetFlag(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof(value));
}

// A listening socket, or the negative errno of what failed.
int TryListen(const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  SetFlag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (address.ai_family == AF_INET6) SetFlag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (bind(fd, address.ai_addr, address.ai_addrlen) == 0 &&
      listen(fd, kBacklog) == 0) {
    return fd;
  }
  const int error = errno;
  close(fd);
  return -error;
}

// A connected socket, or the negative errno of what failed.
int TryConnect(const addrinfo& address, absl::Duration timeout) {
  const int fd =
      socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (connect(fd, address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return -errno;
    if (!WaitFor(fd, POLLOUT, timeout)) return -ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return -error;
  }
  SetFlag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  std::move(close_fd).Cancel();
  return fd;
}

}  // namespace

bool WaitFor(int fd, short events, absl::Duration timeout) {
  const Clock& clock = Clock::Monotonic();
  const absl::Time deadline = clock.Now() + timeout;
  pollfd waiting = {.fd = fd, .events = events};
  while (true) {
    const absl::Duration left = std::clamp(
        deadline - clock.Now(), absl::ZeroDuration(), absl::Hours(1));
    const int result = poll(&waiting, 1,
                            static_cast<int>(absl::ToInt64Milliseconds(
                                absl::Ceil(left, absl::Milliseconds(1)))));
    if (result > 0) return true;
    if (left <= absl::ZeroDuration()) return false;
  }
}

absl::StatusOr<int> ListenAt(const HostPort& address) {
  DROVER_ASSIGN_OR_RETURN(const AddressList addresses,
                          Resolve(address, AI_PASSIVE));
  int error = 0;
  // An IPv6 socket takes both families: tried first where there is no host.
  for (const bool ipv6 : {true, false}) {
    for (const addrinfo* at = addresses.get(); at; at = at->ai_next) {
      if ((at->ai_family == AF_INET6) != ipv6) continue;
      const int fd = TryListen(*at);
      if (fd >= 0) return fd;
      error = -fd;
    }
  }
  return SystemError(address, error);
}

int32_t PortOf(int fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return address.ss_family == AF_INET6
             ? ntohs(reinterpret_cast<sockaddr_in6&>(address).sin6_port)
             : ntohs(reinterpret_cast<sockaddr_in&>(address).sin_port);
}

absl::StatusOr<int> ConnectTo(const HostPort& address, absl::Duration timeout) {
  DROVER_ASSIGN_OR_RETURN(const AddressList addresses, Resolve(address, 0));
  int error = 0;
  for (const addrinfo* at = addresses.get(); at; at = at->ai_next) {
    const int fd = TryConnect(*at, timeout);
    if (fd >= 0) return fd;
    error = -fd;
  }
  return SystemError(address, error);
}

absl::StatusOr<int> AcceptFrom(int listening_fd, absl::Duration timeout) {
  if (!WaitFor(listening_fd, POLLIN, timeout)) {
    return absl::DeadlineExceededError("nobody connected");
  }
  const int fd = accept4(listening_fd, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) {
    return absl::UnavailableError(
        absl::StrCat("accept: ", std::strerror(errno)));
  }
  SetFlag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  return fd;
}

}  // namespace drover
