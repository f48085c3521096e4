#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

struct ssl_st;

namespace drover {

// A connection between two ranks: TLS 1.3 over TCP. Both ends prove that they
// know the group's secret (a pre-shared key, 32 bytes), and there are no
// certificates: who has the secret got it from the router, over mutual TLS.
//
// One thread sends and receives; any may shut it down.
class RankSocket {
 public:
  // Either end of a connected socket, which this takes over: the one that
  // dialled says who it is and whom it wants, the other one hears it. Blocks
  // until both are sure of each other, or `timeout`.
  static absl::StatusOr<std::unique_ptr<RankSocket>> Dialled(
      int fd, const std::string& secret, const std::string& identity,
      absl::Duration timeout);
  static absl::StatusOr<std::unique_ptr<RankSocket>> Answered(
      int fd, const std::string& secret, absl::Duration timeout);
  ~RankSocket();

  RankSocket(const RankSocket&) = delete;
  RankSocket& operator=(const RankSocket&) = delete;

  // What the dialler said of itself; known to both.
  const std::string& identity() const { return identity_; }
  int fd() const { return fd_; }

  // How many bytes were taken or came: 0 if none can without waiting for
  // `wanted_events`. UNAVAILABLE: the connection is lost.
  absl::StatusOr<size_t> Send(absl::Span<const std::byte> data);
  absl::StatusOr<size_t> Receive(absl::Span<std::byte> data);
  // What poll is to wait for, after one of them did nothing.
  short wanted_events() const { return wanted_events_; }

  // Any thread: both ends fail from here on.
  void ShutDown();

 private:
  struct Callbacks;
  struct SslDeleter {
    void operator()(ssl_st* ssl) const;
  };

  RankSocket(int fd, std::string secret, std::string identity)
      : fd_(fd), secret_(std::move(secret)), identity_(std::move(identity)) {}

  absl::Status Handshake(bool is_dialler, absl::Duration timeout);
  // What an SSL function's result of 0 or less means; OK: try again later.
  absl::Status Explain(int result);

  const int fd_;
  const std::string secret_;
  std::string identity_;
  std::unique_ptr<ssl_st, SslDeleter> ssl_;
  short wanted_events_ = 0;
  int64_t sends_since_new_key_ = 0;
};

}  // namespace drover
