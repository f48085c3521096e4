#include "tests/server/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace drover::testing {

namespace {

// The descriptor of a connection to this machine's `port`; -1 if there is none.
int ConnectTo(int32_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) == 0) {
    return fd;
  }
  close(fd);
  return -1;
}

}  // namespace

std::string HttpExchange(int32_t port, const std::string& method,
                         const std::string& path) {
  const int fd = ConnectTo(port);
  if (fd < 0) return "";
  const std::string request =
      method + " " + path + " HTTP/1.1\r\nHost: test\r\n\r\n";
  send(fd, request.data(), request.size(), MSG_NOSIGNAL);
  std::string answer;
  std::array<char, 4096> buffer;
  ssize_t count = 0;
  while ((count = recv(fd, buffer.data(), buffer.size(), 0)) > 0) {
    answer.append(buffer.data(), static_cast<size_t>(count));
  }
  close(fd);
  return answer;
}

IdleConnection::IdleConnection(int32_t port) : fd_(ConnectTo(port)) {}

IdleConnection::~IdleConnection() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace drover::testing
