#include "sharding/hosts/rank_exchange.h"

#include <poll.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace drover {
namespace {

const char* NameOf(MessageKind kind) {
  switch (kind) {
    case MessageKind::kFloat32:
      return "float32";
    case MessageKind::kBFloat16:
      return "bfloat16";
    case MessageKind::kInt64:
      return "int64";
  }
  return "something unknown";
}

}  // namespace

RankExchange::RankExchange(int32_t rank,
                           std::vector<std::unique_ptr<RankSocket>> sockets)
    : rank_(rank), sockets_(std::move(sockets)), peers_(sockets_.size()) {
  for (size_t peer = 0; peer < peers_.size(); ++peer) {
    DROVER_CHECK((sockets_[peer] == nullptr) ==
                 (peer == static_cast<size_t>(rank_)));
  }
}

void RankExchange::MakeRoom(size_t size, Message& message) {
  message.size = sizeof(Header) + size;
  message.num_done = 0;
  if (message.bytes.size() < message.size) message.bytes.resize(message.size);
}

std::byte* RankExchange::Put(int32_t peer, size_t size) {
  Message& out = peers_[static_cast<size_t>(peer)].out;
  MakeRoom(size, out);
  return out.bytes.data() + sizeof(Header);
}

const std::byte* RankExchange::Got(int32_t peer) const {
  return peers_[static_cast<size_t>(peer)].in.bytes.data() + sizeof(Header);
}

void RankExchange::Expect(int32_t peer, size_t size) {
  MakeRoom(size, peers_[static_cast<size_t>(peer)].in);
}

absl::Status RankExchange::Exchange(MessageKind kind, absl::Duration patience) {
  ++number_;
  kind_ = kind;
  for (size_t peer = 0; peer < peers_.size(); ++peer) {
    if (sockets_[peer] == nullptr) continue;
    Message& out = peers_[peer].out;
    const Header header = {number_, kind, out.payload_size()};
    std::memcpy(out.bytes.data(), &header, sizeof(header));
  }
  absl::Status status = Run(patience);
  if (!status.ok()) {
    if (is_aborted_)
      status = absl::AbortedError("the group of ranks was ended");
    Abort();
  }
  return status;
}

absl::Status RankExchange::Run(absl::Duration patience) {
  while (true) {
    bool has_moved = false;
    for (size_t peer = 0; peer < peers_.size(); ++peer) {
      if (sockets_[peer] == nullptr) continue;
      DROVER_ASSIGN_OR_RETURN(const bool moved, Move(peer));
      has_moved |= moved;
    }
    if (is_aborted_) return absl::AbortedError("");
    if (is_done()) return absl::OkStatus();
    if (!has_moved) DROVER_RETURN_IF_ERROR(AwaitAnything(patience));
  }
}

absl::StatusOr<bool> RankExchange::Move(size_t peer) {
  RankSocket& socket = *sockets_[peer];
  auto& [out, in] = peers_[peer];
  size_t num_moved = 0;
  if (!out.is_done()) {
    const absl::StatusOr<size_t> sent =
        socket.Send(absl::MakeConstSpan(out.bytes).subspan(
            out.num_done, out.size - out.num_done));
    if (!sent.ok()) return Lost(peer, sent.status());
    out.num_done += *sent;
    num_moved += *sent;
  }
  if (!in.is_done()) {
    const absl::StatusOr<size_t> received = socket.Receive(
        absl::MakeSpan(in.bytes).subspan(in.num_done, in.size - in.num_done));
    if (!received.ok()) return Lost(peer, received.status());
    const bool had_header = in.num_done >= sizeof(Header);
    in.num_done += *received;
    num_moved += *received;
    if (!had_header && in.num_done >= sizeof(Header)) {
      DROVER_RETURN_IF_ERROR(CheckHeader(peer));
    }
  }
  return num_moved > 0;
}

absl::Status RankExchange::CheckHeader(size_t peer) const {
  const Message& in = peers_[peer].in;
  Header header;
  std::memcpy(&header, in.bytes.data(), sizeof(header));
  if (header.number == number_ && header.kind == kind_ &&
      header.size == in.payload_size()) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat(
      "rank ", peer, " sends ", header.size, " bytes of ", NameOf(header.kind),
      " (message ", header.number, "), and rank ", rank_, " waits for ",
      in.payload_size(), " of ", NameOf(kind_), " (message ", number_, ")"));
}

bool RankExchange::is_done() const {
  return std::all_of(peers_.begin(), peers_.end(), [](const Peer& peer) {
    return peer.out.is_done() && peer.in.is_done();
  });
}

absl::Status RankExchange::AwaitAnything(absl::Duration patience) const {
  std::vector<pollfd> waiting;
  size_t missing = 0;
  for (size_t peer = 0; peer < peers_.size(); ++peer) {
    const auto& [out, in] = peers_[peer];
    if (out.is_done() && in.is_done()) continue;
    if (waiting.empty()) missing = peer;
    pollfd entry = {.fd = sockets_[peer]->fd()};
    if (!in.is_done()) entry.events |= POLLIN;
    if (!out.is_done()) entry.events |= POLLOUT;
    waiting.push_back(entry);
  }
  const int64_t milliseconds = absl::ToInt64Milliseconds(
      std::min(absl::Ceil(patience, absl::Milliseconds(1)), absl::Hours(24)));
  if (poll(waiting.data(), waiting.size(), static_cast<int>(milliseconds)) !=
      0) {
    return absl::OkStatus();
  }
  return absl::DeadlineExceededError(
      absl::StrCat("rank ", rank_, " has waited ",
                   absl::FormatDuration(patience), " for rank ", missing));
}

absl::Status RankExchange::Lost(size_t peer, const absl::Status& why) const {
  return absl::AbortedError(
      absl::StrCat("rank ", rank_, " lost rank ", peer, ": ", why.message()));
}

void RankExchange::Abort() {
  is_aborted_ = true;
  for (const std::unique_ptr<RankSocket>& socket : sockets_) {
    if (socket != nullptr) socket->ShutDown();
  }
}

}  // namespace drover
