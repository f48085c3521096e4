#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace drover {

// "0.0.0.0:8033", "[::]:8033".
std::string JoinHostPort(std::string_view host, int32_t port);

// Whether a server could listen there now, so that a taken port is found before
// a model is loaded. `flag` is what the error tells the user to change.
// UNAVAILABLE: taken; INVALID_ARGUMENT: no address of this machine.
absl::Status CheckCanListen(std::string_view flag, const std::string& host,
                            int32_t port);

// Connects and hangs up, to wake whoever waits for a connection there.
void ConnectOnce(const std::string& host, int32_t port);

}  // namespace drover
