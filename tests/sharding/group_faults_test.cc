// Any rank dies or hangs at any point: the group is lost, says so, and leaves
// no process, descriptor, port or shared memory behind.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/clock.h"
#include "base/strings.h"
#include "sharding/child_process.h"
#include "sharding/hosts/socket_calls.h"
#include "sharding/shard_group.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kWorldSize = 3;
// With what hangs.
constexpr absl::Duration kPatience = absl::Milliseconds(200);
constexpr absl::Duration kLong = absl::Minutes(1);

struct Case {
  const char* point;  // start, loading, idle, step, sum, stop
  bool hang;
  int32_t rank;
};

// What this process has that could be left behind.
std::vector<std::string> OpenFiles() {
  std::vector<std::string> files;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    files.push_back(std::filesystem::read_symlink(entry, ignored).string());
  }
  return files;
}

int CountOf(const std::vector<std::string>& files, const char* kind) {
  int count = 0;
  for (const std::string& file : files) {
    count += static_cast<int>(file.find(kind) != std::string::npos);
  }
  return count;
}

BatchPlan FirstPlan() {
  return {.step = 1,
          .admissions = {{.slot = {.slot = 0, .generation = 1},
                          .token_ids = {5, 6}}},
          .work = {{.slot = 0, .num_tokens = 2, .new_blocks = {1}}}};
}

// gRPC closes descriptors a moment after their channel's end.
void ExpectAsManySockets(int before) {
  const Clock& clock = Clock::Monotonic();
  const absl::Time deadline = clock.Now() + kLong;
  while (CountOf(OpenFiles(), "socket:") > before && clock.Now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_LE(CountOf(OpenFiles(), "socket:"), before);
}

class GroupFaultsTest : public ::testing::TestWithParam<Case> {
 protected:
  const Case& fault() const { return GetParam(); }
  bool is_at(std::string_view point) const { return fault().point == point; }
  bool is_fatal_at_start() const { return is_at("start") || is_at("loading"); }

  // Short only where nothing else tells of the fault, and the group is lost
  // anyway.
  absl::Duration patience() const {
    return fault().hang && !is_at("stop") ? kPatience : kLong;
  }
  absl::Duration parting_time() const {
    return fault().hang ? kPatience : kLong;
  }

  std::vector<std::string> RankArgs() const {
    std::vector<std::string> args = {
        StrCat("--patience-ms=", absl::ToInt64Milliseconds(patience())),
        StrCat("--fault-rank=", fault().rank),
        StrCat("--fault-point=", fault().point)};
    if (fault().hang) args.push_back("--fault-hang");
    return args;
  }

  // `kill_idle`: does what the fault says to the idle rank.
  void RunAndLose(ShardGroup& group, bool between_hosts,
                  const std::function<void()>& kill_idle) {
    absl::Notification answered;
    absl::StatusOr<StepResult> result;
    group.Start([&](absl::StatusOr<StepResult> given) {
      result = std::move(given);
      answered.Notify();
    });
    if (is_at("idle")) {
      kill_idle();
    } else {
      group.Submit(FirstPlan());
    }
    answered.WaitForNotification();
    EXPECT_EQ(result.ok(), is_at("stop"));
    if (result.ok()) return;
    EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
    if (fault().hang) return;
    // In a sum between hosts a rank may wait for one that has noticed the loss
    // and ended, and be the first to tell.
    const bool may_be_another = between_hosts && is_at("sum");
    EXPECT_THAT(
        std::string(result.status().message()),
        HasSubstr(may_be_another ? "rank " : StrCat("rank ", fault().rank)));
  }
};

// ---- Ranks that the router started ----

TEST_P(GroupFaultsTest, OfOneHostLeaveNothingBehind) {
  const std::vector<std::string> files_before = OpenFiles();
  // What loads and does not answer is given up after the time for starting.
  const absl::Duration start_timeout =
      is_fatal_at_start() && fault().hang ? 3 * kPatience : kLong;
  {
    auto group = ShardGroup::Launch({.shard_binary = FAKE_RANK_BINARY,
                                     .shard_args = RankArgs(),
                                     .num_shards = kWorldSize,
                                     .model_fingerprint = "cafe",
                                     .start_timeout = start_timeout,
                                     .patience = patience(),
                                     .parting_time = parting_time()});
    ASSERT_EQ(group.ok(), !is_fatal_at_start()) << group.status();
    if (group.ok()) {
      RunAndLose(**group, /*between_hosts=*/false, [&] {
        kill((*group)->shard_pid(static_cast<size_t>(fault().rank)),
             fault().hang ? SIGSTOP : SIGKILL);
      });
    } else {
      EXPECT_EQ(group.status().code(), absl::StatusCode::kUnavailable);
      if (!fault().hang) {
        EXPECT_THAT(std::string(group.status().message()),
                    HasSubstr(StrCat("the shard of rank ", fault().rank,
                                     " was killed by signal 9")));
      }
    }
  }
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a process is left";
  const std::vector<std::string> files = OpenFiles();
  EXPECT_EQ(CountOf(files, "memfd:"), 0);
  EXPECT_EQ(CountOf(files, "pipe:"), CountOf(files_before, "pipe:"));
  ExpectAsManySockets(CountOf(files_before, "socket:"));
}

// ---- Ranks that came to a rendezvous ----

// The operator of ranks, which come to a router as soon as it listens.
class RankOperator {
 public:
  explicit RankOperator(std::vector<std::string> args)
      : args_(std::move(args)), ranks_(kWorldSize) {}

  // The router's log.
  void OnLog(std::string_view text) {
    const size_t at = text.find("rendezvous port=");
    if (at == std::string_view::npos) return;
    port_ = std::stoi(std::string(text.substr(at + 16)));
    for (int32_t rank = 0; rank < kWorldSize; ++rank) {
      std::vector<std::string> args = args_;
      args.push_back(StrCat("--rank=", rank));
      args.push_back(StrCat("--world-size=", kWorldSize));
      args.push_back(StrCat("--rendezvous-port=", port_));
      auto child =
          ChildProcess::Start({.program = FAKE_RANK_BINARY, .args = args});
      ASSERT_THAT(child, IsOk());
      ranks_[static_cast<size_t>(rank)] = *std::move(child);
    }
  }
  int32_t port() const { return port_; }
  ChildProcess& rank(int32_t rank) {
    return *ranks_[static_cast<size_t>(rank)];
  }

 private:
  const std::vector<std::string> args_;
  std::vector<std::unique_ptr<ChildProcess>> ranks_;
  int32_t port_ = 0;
};

TEST_P(GroupFaultsTest, OfSeveralHostsLeaveNothingBehind) {
  const std::vector<std::string> files_before = OpenFiles();
  // One that never comes is waited for, here and by the ranks that came.
  const absl::Duration start_timeout = is_at("start") ? 3 * kPatience : kLong;
  {
    std::vector<std::string> args = RankArgs();
    args.push_back(StrCat("--start-timeout-ms=",
                          absl::ToInt64Milliseconds(start_timeout)));
    RankOperator ranks(args);
    const auto on_log = [&](char, std::string_view text) { ranks.OnLog(text); };
    auto group = ShardGroup::Launch(
        {.num_shards = kWorldSize,
         .model_fingerprint = "cafe",
         .start_timeout = start_timeout,
         .patience = patience(),
         .rendezvous = RendezvousOptions{.address = {"127.0.0.1", 0},
                                         .security = {.insecure = true}},
         .on_log = on_log});
    ASSERT_EQ(group.ok(), !is_fatal_at_start()) << group.status();
    if (group.ok()) {
      RunAndLose(**group, /*between_hosts=*/true, [&] {
        ranks.rank(fault().rank).Signal(fault().hang ? SIGSTOP : SIGKILL);
      });
      group->reset();
    } else {
      EXPECT_EQ(group.status().code(), absl::StatusCode::kUnavailable);
    }
    // One that hung and goes on finds that it is alone; all end by themselves.
    // It may hang only now: it is told again.
    ChildProcess& faulty = ranks.rank(fault().rank);
    do {
      faulty.Signal(SIGCONT);
    } while (!faulty.WaitForExit(kPatience));
    for (int32_t rank = 0; rank < kWorldSize; ++rank) {
      EXPECT_TRUE(ranks.rank(rank).WaitForExit(kLong)) << "rank " << rank;
    }
    const auto listening = ListenAt({"127.0.0.1", ranks.port()});
    EXPECT_THAT(listening, IsOk());
    if (listening.ok()) close(*listening);
  }
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a process is left";
  ExpectAsManySockets(CountOf(files_before, "socket:"));
}

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const char* point :
       {"start", "loading", "idle", "step", "sum", "stop"}) {
    for (const bool hang : {false, true}) {
      for (int32_t rank = 0; rank < kWorldSize; ++rank) {
        cases.push_back({point, hang, rank});
      }
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Faults, GroupFaultsTest,
                         ::testing::ValuesIn(AllCases()),
                         [](const ::testing::TestParamInfo<Case>& info) {
                           return StrCat("Rank", info.param.rank,
                                         info.param.hang ? "Hangs" : "Dies",
                                         "At_", info.param.point);
                         });

}  // namespace
}  // namespace drover
