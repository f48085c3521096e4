#include "sharding/hosts/rendezvous.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "sharding/hosts/router_stream.h"
#include "sharding/hosts/socket_calls.h"
#include "tests/testing/certificates.h"
#include "tests/testing/fake_executor.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::_;
using ::testing::AllOf;
using testing::CertificateAuthority;
using testing::FakeExecutor;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kLong = absl::Minutes(1);

RendezvousSecurity Insecure() { return {.insecure = true}; }

RendezvousSecurity Secure(CertificateAuthority& authority,
                          const std::string& host) {
  const auto files = authority.Issue(host);
  return {.tls_cert_path = files.cert_path,
          .tls_key_path = files.key_path,
          .tls_ca_cert_path = authority.cert_path()};
}

// A router's rendezvous for two ranks, and what ranks say there.
class RendezvousTest : public ::testing::Test {
 protected:
  void Listen(const RendezvousSecurity& security = Insecure(),
              int32_t port = 0) {
    auto rendezvous = Rendezvous::Listen(
        {.address = {"127.0.0.1", port},
         .security = security,
         .settings = {.dtype = "float32",
                      .kv_cache_bytes = 7,
                      .raw_logprobs = true,
                      .max_top_n = 20}},
        {.world_size = 2, .version = "1.0", .model_fingerprint = "cafe"},
        [this](char /*level*/, std::string_view text) {
          absl::MutexLock lock(&mutex_);
          log_.emplace_back(text);
        });
    ASSERT_THAT(rendezvous, IsOk());
    rendezvous_ = *std::move(rendezvous);
  }

  RouterStream::Options Options(int32_t rank) const {
    return {.rendezvous = {"127.0.0.1", rendezvous_->port()},
            .security = Insecure(),
            .rank = rank,
            .world_size = 2,
            .version = "1.0",
            .model_fingerprint = "cafe",
            .group_address = {"", 1000 + rank}};
  }

  // Waits until the router has said this.
  void AwaitLog(const std::string& text) {
    const auto is_there = [&] {
      mutex_.AssertReaderHeld();
      for (const std::string& line : log_) {
        if (line.find(text) != std::string::npos) return true;
      }
      return false;
    };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&is_there));
  }

  absl::Mutex mutex_;
  std::vector<std::string> log_;
  std::unique_ptr<Rendezvous> rendezvous_;
};

// A rank on a thread of its own: comes, serves with a FakeExecutor, goes.
class RankThread {
 public:
  explicit RankThread(const RouterStream::Options& options)
      : thread_([this, options] {
          auto stream = RouterStream::Join(options);
          status_ = stream.status();
          if (!stream.ok()) return;
          group_ = (*stream)->group();
          FakeExecutor executor({});
          status_ = (*stream)->Serve(executor, {.name = "a fake"});
        }) {}
  // How it ended.
  absl::Status Join() {
    thread_.join();
    return status_;
  }
  const RouterStream::Group& group() const { return group_; }

 private:
  absl::Status status_;
  RouterStream::Group group_;
  std::thread thread_;
};

TEST_F(RendezvousTest, RanksHearOfEachOtherAndServeUntilTheyAreLetGo) {
  CertificateAuthority authority;
  Listen(Secure(authority, "127.0.0.1"));
  std::vector<std::unique_ptr<RankThread>> ranks;
  for (const int32_t rank : {1, 0}) {
    RouterStream::Options options = Options(rank);
    options.security = Secure(authority, "some-rank");
    ranks.push_back(std::make_unique<RankThread>(options));
  }
  const auto links = rendezvous_->AwaitRanks(kLong);
  ASSERT_THAT(links, IsOk());
  ASSERT_EQ(links->size(), 2u);
  for (const auto& link : *links) {
    const auto ready = link->AwaitReady(kLong);
    ASSERT_THAT(ready, IsOk());
    EXPECT_EQ(ready->device.name, "a fake");
    EXPECT_EQ(ready->info, FakeExecutor::Options().info);
  }
  absl::Notification answered;
  (*links)[0]->Start([&](const StepResult&) { answered.Notify(); },
                     [](const absl::Status&) {});
  (*links)[0]->Submit(
      {.step = 1,
       .admissions = {{.slot = {.slot = 0, .generation = 1},
                       .token_ids = {5, 6}}},
       .work = {{.slot = 0, .num_tokens = 2, .new_blocks = {1}}}});
  answered.WaitForNotification();
  for (const auto& link : *links) link->Close(absl::OkStatus());
  for (const auto& rank : ranks) {
    EXPECT_THAT(rank->Join(), IsOk());
    ASSERT_EQ(rank->group().addresses.size(), 2u);
    EXPECT_EQ(rank->group().addresses[1].host, "127.0.0.1");
    EXPECT_EQ(rank->group().addresses[1].port, 1001);
    EXPECT_EQ(rank->group().secret.size(), 32u);
    EXPECT_EQ(rank->group().settings.dtype, "float32");
    EXPECT_EQ(rank->group().settings.kv_cache_bytes, 7);
    EXPECT_EQ(rank->group().settings.max_top_n, 20);
    EXPECT_TRUE(rank->group().settings.raw_logprobs);
  }
}

// Notes when it is stopped.
class StoppableExecutor final : public Executor {
 public:
  const ExecutorInfo& info() const override { return inner_.info(); }
  void Start(ResultCallback on_result) override {
    inner_.Start(std::move(on_result));
  }
  void Submit(BatchPlan plan) override { inner_.Submit(std::move(plan)); }
  void Stop() override {
    is_stopped = true;
    inner_.Stop();
  }

  bool is_stopped = false;

 private:
  FakeExecutor inner_{{}};
};

TEST_F(RendezvousTest, ARankHearsOfTheEndBeforeItsExecutorIsStopped) {
  Listen();
  bool was_stopped = true;
  absl::Status heard = absl::UnknownError("nothing");
  RankThread other(Options(1));
  std::thread rank([&] {
    const auto stream = RouterStream::Join(Options(0));
    ASSERT_THAT(stream, IsOk());
    StoppableExecutor executor;
    EXPECT_THAT((*stream)->Serve(executor, {},
                                 [&](const absl::Status& status) {
                                   was_stopped = executor.is_stopped;
                                   heard = status;
                                 }),
                IsOk());
    EXPECT_TRUE(executor.is_stopped);
  });
  const auto links = rendezvous_->AwaitRanks(kLong);
  ASSERT_THAT(links, IsOk());
  for (const auto& link : *links) {
    ASSERT_THAT(link->AwaitReady(kLong), IsOk());
    link->Start([](const StepResult&) {}, [](const absl::Status&) {});
    link->Close(absl::OkStatus());
  }
  rank.join();
  EXPECT_THAT(other.Join(), IsOk());
  EXPECT_FALSE(was_stopped);
  EXPECT_THAT(heard, IsOk());
}

TEST_F(RendezvousTest, ARankThatDoesNotFitIsToldWhatDiffers) {
  struct Row {
    std::function<void(RouterStream::Options&)> change;
    const char* message;
  };
  const Row rows[] = {
      {[](auto& o) { o.version = "2.0"; },
       "the router is of version 1.0, the shard of version 2.0"},
      {[](auto& o) { o.model_fingerprint = "beef"; },
       "the router's model has fingerprint cafe, the shard's beef"},
      {[](auto& o) { o.world_size = 3; },
       "the router runs the model on 2 shards (--num-shard), this one on 3 "
       "(--world-size)"},
      {[](auto& o) { o.rank = 2; }, "--rank 2: expected 0 to 1"},
  };
  Listen();
  for (const Row& row : rows) {
    RouterStream::Options options = Options(1);
    row.change(options);
    EXPECT_THAT(RouterStream::Join(options).status(),
                StatusIs(absl::StatusCode::kFailedPrecondition, row.message));
  }
  // The right ones are still waited for.
  RankThread first(Options(0));
  RankThread second(Options(1));
  EXPECT_THAT(rendezvous_->AwaitRanks(kLong), IsOk());
  rendezvous_.reset();
  EXPECT_THAT(first.Join(), Not(IsOk()));
  EXPECT_THAT(second.Join(), Not(IsOk()));
}

TEST_F(RendezvousTest, RanksOnDevicesOfTwoKindsAreRefused) {
  Listen();
  const auto on = [this](int32_t rank, const char* device) {
    RouterStream::Options options = Options(rank);
    options.device = device;
    return options;
  };
  RankThread first(on(0, "cuda"));
  AwaitLog("rank 0 has come");
  EXPECT_THAT(RouterStream::Join(on(1, "cpu")).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "rank 0 runs on cuda, this one on cpu (--device)"));
  RankThread second(on(1, "cuda"));
  const auto links = rendezvous_->AwaitRanks(kLong);
  ASSERT_THAT(links, IsOk());
  for (const auto& link : *links) link->Close(absl::OkStatus());
  EXPECT_THAT(first.Join(), IsOk());
  EXPECT_THAT(second.Join(), IsOk());
}

TEST_F(RendezvousTest, TheSecondOfTwoRanksWithOneNumberIsRefused) {
  Listen();
  RankThread rank(Options(1));
  AwaitLog("rank 1 has come");
  EXPECT_THAT(RouterStream::Join(Options(1)).status(),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       "rank 1 is here already, from 127.0.0.1"));
  RankThread other(Options(0));
  const auto links = rendezvous_->AwaitRanks(kLong);
  ASSERT_THAT(links, IsOk());
  EXPECT_THAT(RouterStream::Join(Options(0)).status(),
              StatusIs(absl::StatusCode::kAlreadyExists, _));
  for (const auto& link : *links) link->Close(absl::OkStatus());
  EXPECT_THAT(rank.Join(), IsOk());
  EXPECT_THAT(other.Join(), IsOk());
}

TEST_F(RendezvousTest, ARankThatLeftEarlyMayComeAgain) {
  Listen();
  {
    RouterStream::Options options = Options(1);
    options.start_timeout = absl::Milliseconds(300);
    EXPECT_THAT(RouterStream::Join(options).status(),
                StatusIs(absl::StatusCode::kUnavailable,
                         HasSubstr("the other ranks did not come")));
  }
  AwaitLog("rank 1 has left");
  RankThread first(Options(0));
  RankThread second(Options(1));
  const auto links = rendezvous_->AwaitRanks(kLong);
  ASSERT_THAT(links, IsOk());
  for (const auto& link : *links) link->Close(absl::OkStatus());
  EXPECT_THAT(first.Join(), IsOk());
  EXPECT_THAT(second.Join(), IsOk());
}

TEST_F(RendezvousTest, RanksThatDoNotComeAreNamed) {
  Listen();
  EXPECT_THAT(rendezvous_->AwaitRanks(absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kUnavailable,
                       "ranks 0, 1 did not come to the rendezvous in 1ms"));
}

TEST_F(RendezvousTest, ARankTriesUntilTheRouterIsThere) {
  const auto listening = ListenAt({"127.0.0.1", 0});
  ASSERT_THAT(listening, IsOk());
  const int32_t port = PortOf(*listening);
  close(*listening);
  absl::Notification waits;
  std::vector<std::unique_ptr<RankThread>> ranks;
  for (const int32_t rank : {0, 1}) {
    RouterStream::Options options = {.rendezvous = {"127.0.0.1", port},
                                     .security = Insecure(),
                                     .rank = rank,
                                     .world_size = 2,
                                     .version = "1.0",
                                     .model_fingerprint = "cafe"};
    if (rank == 0) {
      options.on_log = [&waits, first = true](std::string_view text) mutable {
        EXPECT_THAT(std::string(text), HasSubstr("Connection refused"));
        if (std::exchange(first, false)) waits.Notify();
      };
    }
    ranks.push_back(std::make_unique<RankThread>(options));
  }
  waits.WaitForNotification();
  Listen(Insecure(), port);
  const auto links = rendezvous_->AwaitRanks(kLong);
  ASSERT_THAT(links, IsOk());
  for (const auto& link : *links) link->Close(absl::OkStatus());
  for (const auto& rank : ranks) EXPECT_THAT(rank->Join(), IsOk());
}

TEST_F(RendezvousTest, WithoutMutualTrustNobodyJoins) {
  CertificateAuthority authority;
  CertificateAuthority other;
  RendezvousSecurity stranger = Secure(other, "rank");
  stranger.tls_ca_cert_path = authority.cert_path();
  struct Row {
    const char* name;
    RendezvousSecurity router;
    RendezvousSecurity rank;
  };
  const Row rows[] = {
      {"a rank of another authority", Secure(authority, "127.0.0.1"), stranger},
      {"a router of another authority", Secure(other, "127.0.0.1"),
       Secure(authority, "rank")},
      {"a router of another name", Secure(authority, "10.9.8.7"),
       Secure(authority, "rank")},
      {"a rank without TLS", Secure(authority, "127.0.0.1"), Insecure()},
      {"a router without TLS", Insecure(), Secure(authority, "rank")},
  };
  for (const Row& row : rows) {
    Listen(row.router);
    RouterStream::Options options = Options(0);
    options.security = row.rank;
    options.start_timeout = absl::Milliseconds(500);
    EXPECT_THAT(RouterStream::Join(options).status(),
                StatusIs(absl::StatusCode::kUnavailable,
                         HasSubstr("no group at the rendezvous 127.0.0.1:")))
        << row.name;
    EXPECT_THAT(rendezvous_->AwaitRanks(absl::ZeroDuration()).status(),
                StatusIs(absl::StatusCode::kUnavailable,
                         HasSubstr("ranks 0, 1 did not come")))
        << row.name;
  }
}

TEST_F(RendezvousTest, FilesThatCannotBeReadAreNamed) {
  CertificateAuthority authority;
  RendezvousSecurity security = Secure(authority, "127.0.0.1");
  security.tls_key_path = "/no/such/key";
  EXPECT_THAT(
      Rendezvous::Listen({.address = {"127.0.0.1", 0}, .security = security},
                         {}, [](char, std::string_view) {}),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such/key")));
}

TEST_F(RendezvousTest, ARouterThatVanishesWhileARankLoadsIsNoticed) {
  Listen();
  absl::Notification lost;
  RouterStream::Options options = Options(0);
  options.on_lost_early = [&](const absl::Status& status) {
    EXPECT_THAT(status, Not(IsOk()));
    lost.Notify();
  };
  RankThread other(Options(1));
  absl::StatusOr<std::unique_ptr<RouterStream>> stream;
  std::thread joining([&] { stream = RouterStream::Join(options); });
  ASSERT_THAT(rendezvous_->AwaitRanks(kLong), IsOk());
  joining.join();
  ASSERT_THAT(stream, IsOk());
  rendezvous_.reset();
  lost.WaitForNotification();
  EXPECT_THAT(other.Join(), Not(IsOk()));
}

TEST(RendezvousSecurityTest, AllFilesOrNoSecurityAtAll) {
  const RendezvousSecurity all = {"cert", "key", "ca"};
  EXPECT_THAT(all.Validate(), IsOk());
  EXPECT_THAT(Insecure().Validate(), IsOk());
  EXPECT_THAT(RendezvousSecurity{}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--rendezvous-tls-cert-path is missing"),
                             HasSubstr("--rendezvous-insecure"))));
  RendezvousSecurity no_key = all;
  no_key.tls_key_path.clear();
  EXPECT_THAT(no_key.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("--rendezvous-tls-key-path is missing")));
  RendezvousSecurity both = all;
  both.insecure = true;
  EXPECT_THAT(both.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("--rendezvous-tls-cert-path cert: does not "
                                 "go with --rendezvous-insecure")));
}

}  // namespace
}  // namespace drover
