#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sharding/hosts/host_port.h"
#include "sharding/hosts/rank_socket.h"

namespace drover {

// Where a rank waits for others, before it knows who they are.
class RankListener {
 public:
  // An empty host: every address of this machine. Port 0: any free one.
  static absl::StatusOr<std::unique_ptr<RankListener>> Listen(
      const HostPort& address);
  ~RankListener();

  RankListener(const RankListener&) = delete;
  RankListener& operator=(const RankListener&) = delete;

  int32_t port() const;
  int fd() const { return fd_; }

 private:
  explicit RankListener(int fd) : fd_(fd) {}
  const int fd_;
};

struct RankMeshOptions {
  int32_t rank = 0;
  std::vector<HostPort> addresses;  // by rank: where each of them listens
  std::string secret;               // 32 bytes, the group's
  absl::Duration timeout = absl::Minutes(1);
};

// One connection to each other rank, by rank; null at one's own place. A rank
// dials the lower ones and answers the higher ones, all of which call this at
// about the same time. Strangers that connect are hung up on. UNAVAILABLE names
// the rank that could not be reached or did not come.
absl::StatusOr<std::vector<std::unique_ptr<RankSocket>>> ConnectRanks(
    const RankListener& listener, const RankMeshOptions& options);

}  // namespace drover
