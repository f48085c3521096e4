#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sharding/hosts/rank_socket.h"

namespace drover {

// What is in a message; both ends must mean the same.
enum class MessageKind : uint32_t { kFloat32 = 1, kBFloat16 = 2, kInt64 = 3 };

// A message to each other rank and one from each, at the same time; again and
// again. One thread; Abort on any.
//
//   Put(peer, size)      to each: the room to write into
//   Expect(peer, size)   from each
//   Exchange(kind)       all are out, all are in
//   Got(peer)            from each, until it is expected again
class RankExchange {
 public:
  // `sockets`: from ConnectRanks, by rank.
  RankExchange(int32_t rank, std::vector<std::unique_ptr<RankSocket>> sockets);

  int32_t rank() const { return rank_; }
  int32_t world_size() const { return static_cast<int32_t>(sockets_.size()); }

  std::byte* Put(int32_t peer, size_t size);
  void Expect(int32_t peer, size_t size);
  // A rank that is lost ends it with ABORTED, one from which nothing comes for
  // `patience` with DEADLINE_EXCEEDED, one that sends something else with
  // INTERNAL: each is named. After an error nothing works any more, here or at
  // the other ranks.
  absl::Status Exchange(MessageKind kind, absl::Duration patience);
  const std::byte* Got(int32_t peer) const;

  void Abort();

 private:
  struct Header {
    uint32_t number;  // of the exchange
    MessageKind kind;
    uint64_t size;  // of what follows
  };
  struct Message {
    std::vector<std::byte> bytes;  // a header first; may be longer than `size`
    size_t size = 0;
    size_t num_done = 0;  // sent, or received

    size_t payload_size() const { return size - sizeof(Header); }
    bool is_done() const { return num_done == size; }
  };
  struct Peer {
    Message out;
    Message in;
  };

  static void MakeRoom(size_t size, Message& message);
  absl::Status Run(absl::Duration patience);
  // What can be moved now; true: something was.
  absl::StatusOr<bool> Move(size_t peer);
  absl::Status CheckHeader(size_t peer) const;
  bool is_done() const;
  // Until a socket wants something; error: nothing came for `patience`.
  absl::Status AwaitAnything(absl::Duration patience) const;
  absl::Status Lost(size_t peer, const absl::Status& why) const;

  const int32_t rank_;
  const std::vector<std::unique_ptr<RankSocket>> sockets_;  // null: one's own
  std::vector<Peer> peers_;                                 // by rank
  uint32_t number_ = 0;                                     // of this exchange
  MessageKind kind_ = MessageKind::kFloat32;
  std::atomic<bool> is_aborted_{false};
};

}  // namespace drover
