#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "sharding/hosts/rank_mesh.h"
#include "sharding/hosts/tcp_collective.h"
#include "tests/testing/status_matchers.h"

namespace drover::testing {

inline const std::string kGroupSecret(32, 's');

// Listeners on the loopback interface, and the options that lead ranks there.
struct RankAddresses {
  explicit RankAddresses(int32_t world_size) {
    for (int32_t rank = 0; rank < world_size; ++rank) {
      auto listener = RankListener::Listen({.host = "127.0.0.1"});
      EXPECT_THAT(listener, IsOk());
      addresses.push_back({"127.0.0.1", (*listener)->port()});
      listeners.push_back(*std::move(listener));
    }
  }
  RankMeshOptions OptionsOf(int32_t rank) const {
    return {.rank = rank, .addresses = addresses, .secret = kGroupSecret};
  }
  std::vector<std::unique_ptr<RankListener>> listeners;
  std::vector<HostPort> addresses;
};

// Connected ranks of one process, which run on threads of their own.
class RankGroup {
 public:
  explicit RankGroup(int32_t world_size,
                     absl::Duration patience = absl::Minutes(5))
      : ranks_(static_cast<size_t>(world_size)) {
    const RankAddresses addresses(world_size);
    OnThreads([&](int32_t rank) {
      const auto place = static_cast<size_t>(rank);
      auto sockets =
          ConnectRanks(*addresses.listeners[place], addresses.OptionsOf(rank));
      ASSERT_THAT(sockets, IsOk());
      ranks_[place] =
          std::make_unique<TcpCollective>(rank, *std::move(sockets), patience);
    });
  }

  TcpCollective& rank(size_t rank) { return *ranks_[rank]; }
  // Its connections break, as if its process had ended.
  void Lose(size_t rank) { ranks_[rank].reset(); }

  void OnThreads(const std::function<void(int32_t rank)>& run) {
    std::vector<std::thread> threads;
    for (int32_t rank = 0; rank < static_cast<int32_t>(ranks_.size()); ++rank) {
      threads.emplace_back([&run, rank] { run(rank); });
    }
    for (std::thread& thread : threads) thread.join();
  }
  void OnRanks(const std::function<void(TcpCollective&)>& run) {
    OnThreads([&](int32_t rank) { run(*ranks_[static_cast<size_t>(rank)]); });
  }

 private:
  std::vector<std::unique_ptr<TcpCollective>> ranks_;
};

}  // namespace drover::testing
