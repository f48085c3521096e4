#include "sharding/hosts/rank_mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "sharding/hosts/socket_calls.h"
#include "tests/sharding/rank_group.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kGroupSecret;
using testing::RankAddresses;

constexpr absl::Duration kLong = absl::Minutes(1);

// Sends all of it, whatever the socket takes at once.
void SendAll(RankSocket& socket, absl::Span<const std::byte> data) {
  while (!data.empty()) {
    const auto sent = socket.Send(data);
    ASSERT_THAT(sent, IsOk());
    data.remove_prefix(*sent);
    if (*sent == 0) WaitFor(socket.fd(), socket.wanted_events(), kLong);
  }
}

// Two ends of one connection.
struct Connection {
  Connection() {
    const RankAddresses addresses(1);
    std::thread answering([&] {
      const auto fd = AcceptFrom(addresses.listeners[0]->fd(), kLong);
      auto socket = RankSocket::Answered(*fd, kGroupSecret, kLong);
      EXPECT_THAT(socket, IsOk());
      answered = *std::move(socket);
    });
    const auto fd = ConnectTo(addresses.addresses[0], kLong);
    auto socket = RankSocket::Dialled(*fd, kGroupSecret, "me", kLong);
    EXPECT_THAT(socket, IsOk());
    dialled = *std::move(socket);
    answering.join();
  }
  std::unique_ptr<RankSocket> dialled;
  std::unique_ptr<RankSocket> answered;
};

TEST(RankSocketTest, TheOneThatAnswersHearsWhoDialled) {
  const Connection connection;
  EXPECT_EQ(connection.answered->identity(), "me");
}

// More sends than one key is good for.
TEST(RankSocketTest, GoesOnWithNewKeys) {
  constexpr size_t kNumBytes = 300000;
  Connection connection;
  std::thread sending([&] {
    for (size_t i = 0; i < kNumBytes; ++i) {
      const auto byte = static_cast<std::byte>(i % 251);
      SendAll(*connection.dialled, {&byte, 1});
    }
  });
  std::vector<std::byte> buffer(4096);
  size_t num_received = 0;
  while (num_received < kNumBytes) {
    const auto received = connection.answered->Receive(absl::MakeSpan(buffer));
    ASSERT_THAT(received, IsOk());
    for (size_t i = 0; i < *received; ++i) {
      ASSERT_EQ(buffer[i], static_cast<std::byte>((num_received + i) % 251));
    }
    num_received += *received;
    if (*received == 0) {
      WaitFor(connection.answered->fd(), POLLIN, kLong);
    }
  }
  sending.join();
}

TEST(RankSocketTest, AnotherSecretIsRefusedByBothEnds) {
  const RankAddresses addresses(1);
  std::thread answering([&] {
    const auto fd = AcceptFrom(addresses.listeners[0]->fd(), kLong);
    EXPECT_THAT(RankSocket::Answered(*fd, kGroupSecret, kLong),
                ::testing::Not(IsOk()));
  });
  const auto fd = ConnectTo(addresses.addresses[0], kLong);
  EXPECT_THAT(RankSocket::Dialled(*fd, std::string(32, 'x'), "me", kLong),
              ::testing::Not(IsOk()));
  answering.join();
}

TEST(RankMeshTest, EveryRankIsConnectedWithEveryOther) {
  const RankAddresses addresses(4);
  std::vector<std::thread> threads;
  for (int32_t rank = 3; rank >= 0; --rank) {
    threads.emplace_back([&, rank] {
      const auto sockets =
          ConnectRanks(*addresses.listeners[static_cast<size_t>(rank)],
                       addresses.OptionsOf(rank));
      ASSERT_THAT(sockets, IsOk());
      ASSERT_EQ(sockets->size(), 4u);
      for (int32_t peer = 0; peer < 4; ++peer) {
        EXPECT_EQ((*sockets)[static_cast<size_t>(peer)] == nullptr,
                  peer == rank);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// One hangs up, one talks of something else, one pretends, one is a rank of
// another group.
TEST(RankMeshTest, StrangersDoNotDisturb) {
  const RankAddresses addresses(2);
  const HostPort& first = addresses.addresses[0];
  std::thread rank0([&] {
    EXPECT_THAT(ConnectRanks(*addresses.listeners[0], addresses.OptionsOf(0)),
                IsOk());
  });
  close(*ConnectTo(first, kLong));
  const auto talker = ConnectTo(first, kLong);
  ASSERT_THAT(talker, IsOk());
  ASSERT_EQ(write(*talker, "GET / HTTP/1.1\r\n\r\n", 18), 18);
  EXPECT_THAT(RankSocket::Dialled(*ConnectTo(first, kLong), kGroupSecret,
                                  "rank 7 to rank 0", kLong),
              IsOk());
  EXPECT_THAT(
      RankSocket::Dialled(*ConnectTo(first, kLong), std::string(32, 'x'),
                          "rank 1 to rank 0", kLong),
      ::testing::Not(IsOk()));
  EXPECT_THAT(ConnectRanks(*addresses.listeners[1], addresses.OptionsOf(1)),
              IsOk());
  rank0.join();
  close(*talker);
}

TEST(RankMeshTest, ARankThatIsNotThereIsNamed) {
  RankAddresses addresses(2);
  addresses.listeners[0].reset();
  EXPECT_THAT(
      ConnectRanks(*addresses.listeners[1], addresses.OptionsOf(1)),
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("rank 0"), HasSubstr("Connection refused"))));
}

TEST(RankMeshTest, ARankThatDoesNotComeIsNamed) {
  const RankAddresses addresses(3);
  RankMeshOptions options = addresses.OptionsOf(0);
  options.timeout = absl::Milliseconds(1);
  EXPECT_THAT(ConnectRanks(*addresses.listeners[0], options),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("cannot reach rank 1: it did not connect")));
}

}  // namespace
}  // namespace drover
