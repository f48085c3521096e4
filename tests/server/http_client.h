#pragma once

#include <cstdint>
#include <string>

namespace drover::testing {

// Sends one request to 127.0.0.1 and returns everything that comes back, or
// "" if nobody listens there.
std::string HttpExchange(int32_t port, const std::string& method,
                         const std::string& path);

}  // namespace drover::testing
