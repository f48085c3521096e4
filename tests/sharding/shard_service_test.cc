#include "sharding/shard_service.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/create_channel_posix.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "base/bounded_queue.h"
#include "sharding/serve_shard.h"
#include "sharding/shard_client.h"
#include "tests/testing/fake_executor.h"

namespace drover {
namespace {

using ::drover::testing::FakeExecutor;
using ::drover::testing::HashedToken;
using ::testing::HasSubstr;

// Both ends of a stream in one process, over the socket pair that real
// processes use.
class ShardServiceTest : public ::testing::Test {
 protected:
  void Serve(FakeExecutor::Options options) {
    int sockets[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    executor_ = std::make_unique<FakeExecutor>(std::move(options));
    server_ = std::thread([this, fd = sockets[1]] {
      served_ = ServeShard(*executor_, device_, "1.0", "cafe", fd);
    });
    fcntl(sockets[0], F_SETFL, O_NONBLOCK);
    client_ = std::make_unique<ShardClient>(
        grpc::CreateInsecureChannelFromFd("shard", sockets[0]));
  }
  void TearDown() override {
    client_.reset();
    if (server_.joinable()) server_.join();
  }

  absl::StatusOr<ShardReady> Connect(const std::string& version = "1.0",
                                     const std::string& model = "cafe") {
    return client_->Connect(version, model, absl::Seconds(30));
  }

  const DeviceFacts device_ = {.name = "a fake", .num_threads = 1};
  std::unique_ptr<FakeExecutor> executor_;
  std::unique_ptr<ShardClient> client_;
  std::thread server_;
  absl::Status served_ = absl::UnknownError("not served");
};

BatchPlan FirstPlan() {
  return {.step = 1,
          .admissions = {{.slot = {.slot = 0, .generation = 1},
                          .token_ids = {5, 6}}},
          .work = {{.slot = 0, .num_tokens = 2, .new_blocks = {1}}}};
}

TEST_F(ShardServiceTest, HelloIsAnsweredWithTheExecutorsLimitsAndDevice) {
  Serve({});
  const auto ready = Connect();
  ASSERT_TRUE(ready.ok()) << ready.status();
  EXPECT_EQ(ready->info, executor_->info());
  EXPECT_EQ(ready->device, device_);
}

TEST_F(ShardServiceTest, PlansComeBackAsResultsAndClosingEndsBothSides) {
  Serve({});
  ASSERT_TRUE(Connect().ok());
  BoundedQueue<StepResult> results(10);
  absl::Notification ended;
  client_->Start([&](StepResult result) { results.Push(std::move(result)); },
                 [&](const absl::Status& status) {
                   EXPECT_EQ(status, absl::OkStatus());
                   ended.Notify();
                 });
  client_->Submit(FirstPlan());
  const std::vector<StepResult> first = results.PopAll();
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].step, 1u);
  ASSERT_EQ(first[0].sequences.size(), 1u);
  EXPECT_EQ(first[0].sequences[0].tokens[0].id, HashedToken({5, 6}));
  EXPECT_TRUE(client_->Close(absl::Seconds(30)));
  ended.WaitForNotification();
  server_.join();
  EXPECT_EQ(served_, absl::OkStatus());
}

TEST_F(ShardServiceTest, AnotherVersionIsRefusedByName) {
  Serve({});
  const auto info = Connect("2.0");
  EXPECT_EQ(info.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(std::string(info.status().message()),
            "the router is of version 2.0, the shard of version 1.0");
}

TEST_F(ShardServiceTest, AnotherModelIsRefusedByName) {
  Serve({});
  const auto info = Connect("1.0", "beef");
  EXPECT_THAT(std::string(info.status().message()), HasSubstr("beef"));
  EXPECT_THAT(std::string(info.status().message()), HasSubstr("cafe"));
}

TEST_F(ShardServiceTest, AFailedStepReachesTheRouterWithItsCause) {
  Serve({.failing_step = 1, .failure = absl::InternalError("no memory left")});
  ASSERT_TRUE(Connect().ok());
  absl::Notification ended;
  client_->Start([](const StepResult&) { FAIL() << "no result was due"; },
                 [&](const absl::Status& status) {
                   EXPECT_EQ(status, absl::InternalError("no memory left"));
                   ended.Notify();
                 });
  client_->Submit(FirstPlan());
  ended.WaitForNotification();
  server_.join();
  EXPECT_EQ(served_, absl::InternalError("no memory left"));
}

TEST_F(ShardServiceTest, ARouterThatVanishesEndsTheShard) {
  Serve({});
  ASSERT_TRUE(Connect().ok());
  client_.reset();
  server_.join();
  EXPECT_TRUE(served_.ok()) << served_;
}

}  // namespace
}  // namespace drover
