#include "scheduler/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "tests/testing/fake_executor.h"

namespace drover {
namespace {

using ::drover::testing::Continuation;
using ::drover::testing::FakeExecutor;
using ::drover::testing::HashedToken;
using ::testing::SizeIs;

class RecordingSink final : public RequestSink {
 public:
  void OnEvent(RequestEvent event) override {
    if (auto* token = std::get_if<RequestToken>(&event)) {
      tokens.push_back(token->score.id);
      if (on_token) on_token(static_cast<int>(tokens.size()));
    } else if (std::holds_alternative<RequestScheduled>(event)) {
      scheduled.Notify();
    } else if (auto* end = std::get_if<RequestEnded>(&event)) {
      this->end = *end;
      ended.Notify();
    }
  }

  std::vector<int32_t> tokens;
  std::function<void(int)> on_token;
  RequestEnded end;
  absl::Notification scheduled;
  absl::Notification ended;
};

TEST(EngineTest, ARequestRunsAndEndsOnce) {
  FakeExecutor executor({});
  Engine engine({}, executor);
  engine.Start();
  auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(
      engine.Submit({.prompt_ids = {5, 6, 7}, .max_new_tokens = 30}, sink)
          .ok());
  sink->ended.WaitForNotification();
  EXPECT_EQ(sink->tokens, Continuation(HashedToken, {5, 6, 7}, 30));
  EXPECT_EQ(sink->end.cause, EndCause::kMaxTokens);
  EXPECT_TRUE(engine.WaitUntilIdle(absl::Seconds(10)));
  EXPECT_TRUE(engine.IsLive(absl::Seconds(10)));
}

TEST(EngineTest, ManyThreadsSubmitAndEachGetsItsOwnTokens) {
  FakeExecutor executor({});
  Engine engine({}, executor);
  engine.Start();
  std::vector<std::shared_ptr<RecordingSink>> sinks(64);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < 64; i += 4) {
        const auto index = static_cast<size_t>(i);
        sinks[index] = std::make_shared<RecordingSink>();
        ASSERT_TRUE(engine
                        .Submit({.prompt_ids = {100 + i}, .max_new_tokens = 20},
                                sinks[index])
                        .ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 64; ++i) {
    RecordingSink& sink = *sinks[static_cast<size_t>(i)];
    sink.ended.WaitForNotification();
    EXPECT_EQ(sink.tokens, Continuation(HashedToken, {100 + i}, 20));
  }
}

TEST(EngineTest, TheOwnersVerdictStopsARequestAndDropsLaterTokens) {
  FakeExecutor executor({});
  Engine engine({}, executor);
  engine.Start();
  auto sink = std::make_shared<RecordingSink>();
  absl::Notification submitted;
  RequestId id = 0;
  sink->on_token = [&](int count) {
    submitted.WaitForNotification();
    if (count == 3) engine.Stop(id);
  };
  const auto submit =
      engine.Submit({.prompt_ids = {5}, .max_new_tokens = 400}, sink);
  ASSERT_TRUE(submit.ok());
  id = *submit;
  submitted.Notify();
  sink->ended.WaitForNotification();
  EXPECT_EQ(sink->end.cause, EndCause::kStopped);
  EXPECT_LE(sink->tokens.size(), 6u) << "at most the plans in flight run on";
}

TEST(EngineTest, ACancelledQueuedRequestNeverRuns) {
  FakeExecutor executor({.held = true});
  Engine engine({.scheduler = {.max_batch_size = 1}}, executor);
  engine.Start();
  auto first = std::make_shared<RecordingSink>();
  auto second = std::make_shared<RecordingSink>();
  ASSERT_TRUE(
      engine.Submit({.prompt_ids = {5}, .max_new_tokens = 3}, first).ok());
  executor.AwaitSubmitted(1);
  const auto id =
      engine.Submit({.prompt_ids = {6}, .max_new_tokens = 3}, second);
  engine.Cancel(*id);
  second->ended.WaitForNotification();
  EXPECT_EQ(second->end.cause, EndCause::kCancelled);
  EXPECT_THAT(second->tokens, SizeIs(0));
  executor.LetAll();
  first->ended.WaitForNotification();
  EXPECT_THAT(first->tokens, SizeIs(3));
  for (const BatchPlan& plan : executor.plans()) {
    for (const auto& admission : plan.admissions) {
      EXPECT_EQ(admission.token_ids, std::vector<int32_t>{5});
    }
  }
}

TEST(EngineTest, AFullQueueRefusesAndForgetsNobody) {
  FakeExecutor executor({.held = true});
  Engine engine({.scheduler = {.max_batch_size = 1, .max_queue_len = 2}},
                executor);
  engine.Start();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 3; ++i) {
    sinks.push_back(std::make_shared<RecordingSink>());
    ASSERT_TRUE(
        engine.Submit({.prompt_ids = {5}, .max_new_tokens = 2}, sinks.back())
            .ok());
    if (i == 0) sinks[0]->scheduled.WaitForNotification();
  }
  const auto refused = engine.Submit({.prompt_ids = {5}, .max_new_tokens = 2},
                                     std::make_shared<RecordingSink>());
  EXPECT_EQ(refused.status(), absl::ResourceExhaustedError("Server too busy"));
  executor.LetAll();
  for (const auto& sink : sinks) {
    sink->ended.WaitForNotification();
    EXPECT_THAT(sink->tokens, SizeIs(2));
  }
}

TEST(EngineTest, ALostExecutorEndsOpenRequestsAndRefusesNewOnes) {
  FakeExecutor executor(
      {.failing_step = 4, .failure = absl::UnavailableError("shard died")});
  absl::Notification lost;
  Engine engine({.on_executor_lost =
                     [&](const absl::Status&, bool in_prefill) {
                       EXPECT_FALSE(in_prefill);
                       lost.Notify();
                     }},
                executor);
  engine.Start();
  auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(
      engine.Submit({.prompt_ids = {5}, .max_new_tokens = 50}, sink).ok());
  sink->ended.WaitForNotification();
  EXPECT_EQ(sink->end.cause, EndCause::kEngineFailed);
  EXPECT_EQ(sink->end.status, absl::UnavailableError("shard died"));
  EXPECT_EQ(sink->tokens, Continuation(HashedToken, {5}, 3));
  lost.WaitForNotification();
  EXPECT_FALSE(engine.IsLive(absl::Hours(1)));

  auto late = std::make_shared<RecordingSink>();
  if (engine.Submit({.prompt_ids = {5}, .max_new_tokens = 5}, late).ok()) {
    late->ended.WaitForNotification();
    EXPECT_EQ(late->end.status, absl::UnavailableError("shard died"));
  }
}

TEST(EngineTest, AnExecutorLostWithAPromptIsToldSo) {
  FakeExecutor executor(
      {.failing_step = 1, .failure = absl::InternalError("no memory")});
  absl::Notification lost;
  Engine engine({.on_executor_lost =
                     [&](const absl::Status& status, bool in_prefill) {
                       EXPECT_EQ(status, absl::InternalError("no memory"));
                       EXPECT_TRUE(in_prefill);
                       lost.Notify();
                     }},
                executor);
  engine.Start();
  ASSERT_TRUE(engine
                  .Submit({.prompt_ids = {5}, .max_new_tokens = 50},
                          std::make_shared<RecordingSink>())
                  .ok());
  lost.WaitForNotification();
}

TEST(EngineTest, ShutdownEndsWhatIsOpenWithTheGivenStatus) {
  FakeExecutor executor({.held = true});
  Engine engine({}, executor);
  engine.Start();
  auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(
      engine.Submit({.prompt_ids = {5}, .max_new_tokens = 50}, sink).ok());
  engine.Shutdown(absl::UnavailableError("drained too long"));
  sink->ended.WaitForNotification();
  EXPECT_EQ(sink->end.status, absl::UnavailableError("drained too long"));
}

TEST(EngineTest, DestructionEndsWhatIsOpen) {
  FakeExecutor executor({.held = true});
  auto sink = std::make_shared<RecordingSink>();
  {
    Engine engine({}, executor);
    engine.Start();
    ASSERT_TRUE(
        engine.Submit({.prompt_ids = {5}, .max_new_tokens = 50}, sink).ok());
  }
  ASSERT_TRUE(sink->ended.HasBeenNotified());
  EXPECT_EQ(sink->end.cause, EndCause::kCancelled);
}

class ManualClock final : public Clock {
 public:
  absl::Time Now() const override {
    return absl::FromUnixSeconds(seconds_.load());
  }
  void Advance(int seconds) { seconds_ += seconds; }

 private:
  std::atomic<int64_t> seconds_{1000};
};

TEST(EngineTest, AHungExecutorIsNotLive) {
  ManualClock clock;
  FakeExecutor executor({.held = true});
  Engine engine({}, executor, clock);
  engine.Start();
  auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(
      engine.Submit({.prompt_ids = {5}, .max_new_tokens = 1}, sink).ok());
  executor.AwaitSubmitted(1);
  EXPECT_TRUE(engine.IsLive(absl::Seconds(60)));
  // The loop notes the plan's age just after submitting it.
  while (engine.IsLive(absl::Seconds(60))) clock.Advance(61);
  executor.LetAll();
  sink->ended.WaitForNotification();
  EXPECT_TRUE(engine.WaitUntilIdle(absl::Seconds(10)));
}

}  // namespace
}  // namespace drover
