#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace drover::testing {

// Sends one request to 127.0.0.1 and returns everything that comes back, or
// "" if nobody listens there.
std::string HttpExchange(int32_t port, const std::string& method,
                         const std::string& path);

// A connection that says nothing, until it is destroyed.
class IdleConnection {
 public:
  explicit IdleConnection(int32_t port);
  IdleConnection(IdleConnection&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)) {}
  ~IdleConnection();

 private:
  int fd_;
};

}  // namespace drover::testing
