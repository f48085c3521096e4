#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sharding/hosts/host_port.h"

namespace drover {

// True once poll tells of `events`, or of an end, at `fd`; false after
// `timeout`.
bool WaitFor(int fd, short events, absl::Duration timeout);

// Listens at an address of this machine; port 0: any free one. An empty host:
// all addresses, of both families where there are two.
absl::StatusOr<int> ListenAt(const HostPort& address);
// The port of a listening socket.
int32_t PortOf(int fd);

// A connected stream socket that does not delay small messages.
// DEADLINE_EXCEEDED, or UNAVAILABLE with why not.
absl::StatusOr<int> ConnectTo(const HostPort& address, absl::Duration timeout);
// Likewise, from whoever connects next.
absl::StatusOr<int> AcceptFrom(int listening_fd, absl::Duration timeout);

}  // namespace drover
