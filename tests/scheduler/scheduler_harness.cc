#include "tests/scheduler/scheduler_harness.h"

#include <gtest/gtest.h>

namespace drover::testing {

SchedulerHarness::SchedulerHarness(ExecutorInfo info, SchedulerOptions options,
                                   NextToken model)
    : scheduler_(std::move(options), info), shard_(info, std::move(model)) {}

RequestId SchedulerHarness::Add(Request request) {
  const RequestId id = next_id_++;
  std::vector<int32_t>& prompt = prompts_[id];
  if (request.prefix != nullptr) prompt = IdsOf(*request.prefix);
  prompt.insert(prompt.end(), request.prompt_ids.begin(),
                request.prompt_ids.end());
  scheduler_.Add(id, std::move(request));
  Check();
  return id;
}

RequestId SchedulerHarness::Add(int prompt_len, int max_new_tokens,
                                SharedPrefix prefix) {
  Request request = {.prefix = std::move(prefix),
                     .max_new_tokens = max_new_tokens};
  for (int i = 0; i < prompt_len; ++i) {
    request.prompt_ids.push_back(static_cast<int32_t>(1000 * next_id_ + i));
  }
  return Add(std::move(request));
}

std::optional<BatchPlan> SchedulerHarness::Plan() {
  std::optional<BatchPlan> plan = scheduler_.Plan(now);
  if (plan) {
    submitted_.push_back(*plan);
    times_.emplace_back();
  }
  Check();
  return plan;
}

void SchedulerHarness::Commit() {
  ASSERT_FALSE(submitted_.empty()) << "nothing in flight";
  absl::StatusOr<StepResult> result = shard_.Run(submitted_.front());
  ASSERT_TRUE(result.ok()) << result.status();
  result->total_time = times_.front();
  submitted_.pop_front();
  times_.pop_front();
  ASSERT_EQ(scheduler_.Commit(*result, now), absl::OkStatus());
  Check();
}

void SchedulerHarness::RunToEnd() {
  while (true) {
    while (Plan()) {
    }
    if (submitted_.empty()) return;
    Commit();
    if (::testing::Test::HasFatalFailure()) return;
  }
}

void SchedulerHarness::Check() {
  ASSERT_EQ(ValidateInvariants(scheduler_.Snapshot()), absl::OkStatus());
  for (auto& [id, event] : scheduler_.TakeEvents()) {
    Outcome& outcome = outcomes_[id];
    ASSERT_FALSE(outcome.end) << "request " << id << " was told after its end";
    if (std::holds_alternative<RequestScheduled>(event)) {
      ASSERT_FALSE(outcome.scheduled);
      outcome.scheduled = true;
    } else if (auto* scores = std::get_if<RequestPromptScores>(&event)) {
      outcome.prompt_scores.insert(outcome.prompt_scores.end(),
                                   scores->scores.begin(),
                                   scores->scores.end());
    } else if (auto* token = std::get_if<RequestToken>(&event)) {
      outcome.tokens.push_back(token->score.id);
    } else {
      outcome.end = std::get<RequestEnded>(event);
    }
  }
}

std::vector<int32_t> Expected(SchedulerHarness& harness, RequestId id, int n) {
  return Continuation(HashedToken, harness.prompt(id), n);
}

}  // namespace drover::testing
