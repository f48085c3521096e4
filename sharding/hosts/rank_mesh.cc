#include "sharding/hosts/rank_mesh.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "sharding/hosts/socket_calls.h"

namespace drover {
namespace {

// How long a stranger may say nothing while ranks wait behind it.
constexpr absl::Duration kHandshakeTime = absl::Seconds(10);

using Sockets = std::vector<std::unique_ptr<RankSocket>>;

std::string IdentityOf(int32_t from, int32_t to) {
  return absl::StrCat("rank ", from, " to rank ", to);
}

absl::Status CannotReach(int32_t rank, const absl::Status& why) {
  return absl::UnavailableError(
      absl::StrCat("cannot reach rank ", rank, ": ", why.message()));
}

class MeshBuilder {
 public:
  MeshBuilder(const RankListener& listener, const RankMeshOptions& options)
      : listener_(listener),
        options_(options),
        deadline_(clock_.Now() + options.timeout),
        sockets_(options.addresses.size()) {}

  absl::StatusOr<Sockets> Build() {
    for (int32_t rank = 0; rank < options_.rank; ++rank) {
      if (absl::Status status = Dial(rank); !status.ok()) {
        return CannotReach(rank, status);
      }
    }
    while (true) {
      const auto missing = std::find(sockets_.begin() + options_.rank + 1,
                                     sockets_.end(), nullptr);
      if (missing == sockets_.end()) return std::move(sockets_);
      if (time_left() <= absl::ZeroDuration()) {
        return CannotReach(static_cast<int32_t>(missing - sockets_.begin()),
                           absl::DeadlineExceededError(absl::StrCat(
                               "it did not connect in ",
                               absl::FormatDuration(options_.timeout))));
      }
      Answer();
    }
  }

 private:
  absl::Duration time_left() const { return deadline_ - clock_.Now(); }

  absl::Status Dial(int32_t rank) {
    const auto place = static_cast<size_t>(rank);
    DROVER_ASSIGN_OR_RETURN(const int fd,
                            ConnectTo(options_.addresses[place], time_left()));
    DROVER_ASSIGN_OR_RETURN(
        sockets_[place],
        RankSocket::Dialled(fd, options_.secret,
                            IdentityOf(options_.rank, rank), time_left()));
    return absl::OkStatus();
  }

  // Whoever comes next, if it is a rank that is due.
  void Answer() {
    const absl::StatusOr<int> fd = AcceptFrom(listener_.fd(), time_left());
    if (!fd.ok()) return;
    auto socket = RankSocket::Answered(*fd, options_.secret,
                                       std::min(time_left(), kHandshakeTime));
    if (!socket.ok()) return;
    for (size_t place = static_cast<size_t>(options_.rank) + 1;
         place < sockets_.size(); ++place) {
      if (sockets_[place] == nullptr &&
          (*socket)->identity() ==
              IdentityOf(static_cast<int32_t>(place), options_.rank)) {
        sockets_[place] = *std::move(socket);
        return;
      }
    }
  }

  const RankListener& listener_;
  const RankMeshOptions& options_;
  const Clock& clock_ = Clock::Monotonic();
  const absl::Time deadline_;
  Sockets sockets_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RankListener>> RankListener::Listen(
    const HostPort& address) {
  DROVER_ASSIGN_OR_RETURN(const int fd, ListenAt(address));
  return std::unique_ptr<RankListener>(new RankListener(fd));
}

RankListener::~RankListener() { close(fd_); }

int32_t RankListener::port() const { return PortOf(fd_); }

absl::StatusOr<Sockets> ConnectRanks(const RankListener& listener,
                                     const RankMeshOptions& options) {
  return MeshBuilder(listener, options).Build();
}

}  // namespace drover
