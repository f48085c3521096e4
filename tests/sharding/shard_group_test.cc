#include "sharding/shard_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/strings.h"
#include "scheduler/engine.h"
#include "sharding/exit_status.h"
#include "tests/testing/fake_shard.h"
#include "tests/testing/scoped_environment.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::drover::testing::Continuation;
using ::drover::testing::HashedToken;
using ::testing::HasSubstr;

absl::StatusOr<std::unique_ptr<ShardGroup>> Launch(
    std::vector<std::string> args,
    absl::Duration start_timeout = absl::Seconds(60), int32_t num_shards = 1) {
  args.push_back("--fingerprint=cafe");
  return ShardGroup::Launch({.shard_binary = FAKE_SHARD_BINARY,
                             .shard_args = std::move(args),
                             .num_shards = num_shards,
                             .model_fingerprint = "cafe",
                             .start_timeout = start_timeout});
}

class EndSink final : public RequestSink {
 public:
  void OnEvent(RequestEvent event) override {
    if (auto* token = std::get_if<RequestToken>(&event)) {
      tokens.push_back(token->score.id);
    } else if (auto* end = std::get_if<RequestEnded>(&event)) {
      status = end->status;
      ended.Notify();
    }
  }
  std::vector<int32_t> tokens;
  absl::Status status;
  absl::Notification ended;
};

TEST(ShardGroupTest, AnEngineRunsOverARealProcess) {
  auto group = Launch({});
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ((*group)->device().name, "a fake");
  Engine engine({}, **group);
  engine.Start();
  auto sink = std::make_shared<EndSink>();
  ASSERT_TRUE(
      engine.Submit({.prompt_ids = {4, 5}, .max_new_tokens = 100}, sink).ok());
  sink->ended.WaitForNotification();
  EXPECT_EQ(sink->tokens, Continuation(HashedToken, {4, 5}, 100));
}

TEST(ShardGroupTest, StoppingLeavesNoProcessBehind) {
  auto group = Launch({});
  ASSERT_TRUE(group.ok()) << group.status();
  const pid_t pid = (*group)->shard_pid();
  EXPECT_EQ(kill(pid, 0), 0);
  group->reset();
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST(ShardGroupTest, AllRanksRunAndNoneIsLeftBehind) {
  auto group = Launch({}, absl::Seconds(60), /*num_shards=*/3);
  ASSERT_TRUE(group.ok()) << group.status();
  std::vector<pid_t> pids;
  for (size_t rank = 0; rank < 3; ++rank) {
    pids.push_back((*group)->shard_pid(rank));
    EXPECT_EQ(kill(pids.back(), 0), 0);
  }
  {
    Engine engine({}, **group);
    engine.Start();
    auto sink = std::make_shared<EndSink>();
    ASSERT_TRUE(
        engine.Submit({.prompt_ids = {4, 5}, .max_new_tokens = 100}, sink)
            .ok());
    sink->ended.WaitForNotification();
    EXPECT_EQ(sink->tokens, Continuation(HashedToken, {4, 5}, 100));
  }
  group->reset();
  for (const pid_t pid : pids) EXPECT_EQ(kill(pid, 0), -1);
}

TEST(ShardGroupTest, ARankThatDoesNotLeaveKeepsNoOtherFromLeaving) {
  auto group = ShardGroup::Launch(
      {.shard_binary = FAKE_SHARD_BINARY,
       .shard_args = {"--fingerprint=cafe", "--holding-step=1",
                      "--holding-rank=0"},
       .num_shards = 2,
       .model_fingerprint = "cafe",
       .parting_time = absl::InfiniteDuration()});
  ASSERT_TRUE(group.ok()) << group.status();
  const pid_t holding = (*group)->shard_pid(0);
  const pid_t other = (*group)->shard_pid(1);
  (*group)->Start([](const absl::StatusOr<StepResult>&) {});
  (*group)->Submit({.step = 1,
                    .admissions = {{.slot = {.slot = 0, .generation = 1},
                                    .token_ids = {5, 6}}},
                    .work = {{.slot = 0, .num_tokens = 2, .new_blocks = {1}}}});
  std::thread stopping([&] { (*group)->Stop(); });
  const absl::Time deadline = absl::Now() + absl::Minutes(1);
  while (kill(other, 0) == 0 && absl::Now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_NE(kill(other, 0), 0);
  kill(holding, SIGKILL);
  stopping.join();
}

TEST(ShardGroupTest, AnyRankThatDiesEndsRequestsAndIsNamed) {
  for (size_t rank = 0; rank < 3; ++rank) {
    auto group = Launch({}, absl::Seconds(60), /*num_shards=*/3);
    ASSERT_TRUE(group.ok()) << group.status();
    absl::Status status;
    absl::Notification lost;
    (*group)->Start([&](const absl::StatusOr<StepResult>& result) {
      status = result.status();
      lost.Notify();
    });
    kill((*group)->shard_pid(rank), SIGKILL);
    lost.WaitForNotification();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(StrCat("the shard of rank ", rank,
                                 " was killed by signal 9")));
  }
}

TEST(ShardGroupTest, RanksThatDisagreeAreNoticedWhereThatIsAskedFor) {
  for (const bool compares : {false, true}) {
    std::optional<testing::ScopedEnvironment> environment;
    if (compares) environment.emplace("DROVER_VALIDATE_RANKS", "1");
    auto group = Launch({"--deviating-rank=1"}, absl::Seconds(60),
                        /*num_shards=*/2);
    ASSERT_TRUE(group.ok()) << group.status();
    Engine engine({}, **group);
    engine.Start();
    auto sink = std::make_shared<EndSink>();
    ASSERT_TRUE(
        engine.Submit({.prompt_ids = {4, 5}, .max_new_tokens = 9}, sink).ok());
    sink->ended.WaitForNotification();
    EXPECT_EQ(sink->status.ok(), !compares) << sink->status;
    if (compares) {
      EXPECT_THAT(std::string(sink->status.message()),
                  HasSubstr("answer differently: slot 0: token "));
    }
  }
}

TEST(ShardGroupTest, ARankThatHangsAtStartIsGivenUpWithAllOthers) {
  const auto group =
      Launch({"--hang"}, absl::Milliseconds(300), /*num_shards=*/2);
  EXPECT_EQ(group.status().code(), absl::StatusCode::kUnavailable);
}

// Its connection goes on: only results tell.
TEST(ShardGroupTest, AnyRankWhoseStepDoesNotEndLosesTheGroup) {
  for (const size_t rank : {0, 2}) {
    auto group = ShardGroup::Launch(
        {.shard_binary = FAKE_SHARD_BINARY,
         .shard_args = {"--fingerprint=cafe", "--holding-step=4",
                        StrCat("--holding-rank=", rank)},
         .num_shards = 3,
         .model_fingerprint = "cafe",
         .step_patience = absl::Milliseconds(100),
         .parting_time = absl::Milliseconds(200)});
    ASSERT_TRUE(group.ok()) << group.status();
    std::vector<pid_t> pids;
    for (size_t i = 0; i < 3; ++i) pids.push_back((*group)->shard_pid(i));
    absl::Status status;
    absl::Notification lost;
    {
      Engine engine({.on_executor_lost =
                         [&](const absl::Status& cause, bool) {
                           status = cause;
                           lost.Notify();
                         }},
                    **group);
      engine.Start();
      auto sink = std::make_shared<EndSink>();
      ASSERT_TRUE(
          engine.Submit({.prompt_ids = {4, 5}, .max_new_tokens = 9}, sink)
              .ok());
      sink->ended.WaitForNotification();
      lost.WaitForNotification();
      // Those of the first rank are the ones that requests wait for.
      EXPECT_EQ(sink->status, rank == 0 ? status : absl::OkStatus());
    }
    EXPECT_EQ(
        status,
        absl::UnavailableError(StrCat(
            "no result for more than 500ms from the shards of rank ", rank)));
    group->reset();
    for (const pid_t pid : pids) EXPECT_EQ(kill(pid, 0), -1);
  }
}

TEST(ShardGroupTest, AShardThatDiesEndsRequestsWithUnavailable) {
  auto group = Launch({"--crashing-step=20"});
  ASSERT_TRUE(group.ok()) << group.status();
  Engine engine({}, **group);
  engine.Start();
  auto sink = std::make_shared<EndSink>();
  ASSERT_TRUE(
      engine.Submit({.prompt_ids = {4, 5}, .max_new_tokens = 100}, sink).ok());
  sink->ended.WaitForNotification();
  EXPECT_EQ(sink->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(sink->status.message(),
            "the shard was killed by signal 9 (Killed; perhaps memory ran "
            "out)");
  EXPECT_GE(sink->tokens.size(), 1u);
}

TEST(ShardGroupTest, AFailedStepEndsRequestsWithItsCodeAndCause) {
  struct Row {
    absl::StatusCode told;
    absl::StatusCode heard;
  };
  for (const Row row :
       {Row{absl::StatusCode::kInternal, absl::StatusCode::kInternal},
        Row{absl::StatusCode::kResourceExhausted,
            absl::StatusCode::kResourceExhausted},
        // It waited in vain for another rank.
        Row{absl::StatusCode::kDeadlineExceeded,
            absl::StatusCode::kUnavailable},
        // The plan was wrong, not the client.
        Row{absl::StatusCode::kInvalidArgument, absl::StatusCode::kInternal}}) {
    auto group =
        Launch({"--failing-step=3",
                StrCat("--failure-code=", static_cast<int>(row.told))});
    ASSERT_TRUE(group.ok()) << group.status();
    Engine engine({}, **group);
    engine.Start();
    auto sink = std::make_shared<EndSink>();
    ASSERT_TRUE(
        engine.Submit({.prompt_ids = {4, 5}, .max_new_tokens = 100}, sink)
            .ok());
    sink->ended.WaitForNotification();
    EXPECT_EQ(sink->status, absl::Status(row.heard, "the fake failed"));
  }
}

// The engine stops while gRPC still tells of the end: several times, since the
// two meet on different threads.
TEST(ShardGroupTest, AnEngineMayStopAtTheMomentItLosesTheShard) {
  for (int round = 0; round < 20; ++round) {
    auto group = Launch({"--failing-step=3"});
    ASSERT_TRUE(group.ok()) << group.status();
    Engine engine({}, **group);
    engine.Start();
    auto sink = std::make_shared<EndSink>();
    ASSERT_TRUE(
        engine.Submit({.prompt_ids = {4, 5}, .max_new_tokens = 9}, sink).ok());
    sink->ended.WaitForNotification();
    EXPECT_FALSE(sink->status.ok());
  }
}

TEST(ShardGroupTest, AShardThatRefusesToStartSaysWhy) {
  const auto group = Launch({"--refuse=no such model: /nowhere"});
  EXPECT_EQ(group.status(), absl::UnavailableError("no such model: /nowhere"));
}

TEST(ShardGroupTest, AModelThatDoesNotFitIsToldApart) {
  const auto group = Launch({"--refuse=too little memory",
                             StrCat("--refuse-status=", kExitDoesNotFit)});
  EXPECT_EQ(group.status(), absl::ResourceExhaustedError("too little memory"));
}

TEST(ShardGroupTest, AShardThatLeavesInsteadOfStartingIsNamedSo) {
  const auto group = ShardGroup::Launch({.shard_binary = "/bin/true"});
  EXPECT_EQ(group.status(),
            absl::UnavailableError("the shard exited with status 0"));
}

TEST(ShardGroupTest, TheLastWordsOfACrashAreTold) {
  const TempDir folder;
  const std::string shard =
      folder.Write("shard",
                   "#!/bin/sh\necho 'I all is well'\necho 'bad_alloc' >&2\n"
                   "echo 'I so far'\nkill -6 $$\n");
  chmod(shard.c_str(), 0700);
  const auto group = ShardGroup::Launch({.shard_binary = shard});
  EXPECT_EQ(group.status(),
            absl::UnavailableError(
                "the shard was killed by signal 6 (Aborted): bad_alloc"));
}

TEST(ShardGroupTest, AShardThatNeverBecomesReadyIsGivenUp) {
  const auto group = Launch({"--hang"}, absl::Milliseconds(200));
  EXPECT_THAT(std::string(group.status().message()),
              HasSubstr("not ready after 200ms"));
}

TEST(ShardGroupTest, AMissingBinaryIsNamed) {
  const auto group =
      ShardGroup::Launch({.shard_binary = "/no/such/drover-shard"});
  EXPECT_EQ(group.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(group.status().message()),
              HasSubstr("/no/such/drover-shard"));
}

}  // namespace
}  // namespace drover
