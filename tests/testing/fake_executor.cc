#include "tests/testing/fake_executor.h"

#include <limits>
#include <utility>

namespace drover::testing {
namespace {

constexpr int kUnlimited = std::numeric_limits<int>::max();

}  // namespace

FakeExecutor::FakeExecutor(Options options)
    : options_(std::move(options)),
      allowed_(options_.held ? 0 : kUnlimited),
      shard_(options_.info, options_.model) {}

FakeExecutor::~FakeExecutor() { Stop(); }

void FakeExecutor::Start(ResultCallback on_result) {
  on_result_ = std::move(on_result);
  thread_ = std::thread([this] { Run(); });
}

void FakeExecutor::Submit(BatchPlan plan) {
  absl::MutexLock lock(&mutex_);
  plans_.push_back(std::move(plan));
}

void FakeExecutor::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void FakeExecutor::Let(int count) {
  absl::MutexLock lock(&mutex_);
  if (allowed_ != kUnlimited) allowed_ += count;
}

void FakeExecutor::LetAll() {
  absl::MutexLock lock(&mutex_);
  allowed_ = kUnlimited;
}

void FakeExecutor::AwaitSubmitted(int count) {
  absl::MutexLock lock(&mutex_);
  const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return plans_.size() >= static_cast<size_t>(count);
  };
  mutex_.Await(absl::Condition(&enough));
}

std::vector<BatchPlan> FakeExecutor::plans() const {
  absl::MutexLock lock(&mutex_);
  return plans_;
}

void FakeExecutor::Run() {
  while (true) {
    BatchPlan plan;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &FakeExecutor::HasWork));
      if (stopping_) return;
      plan = plans_[answered_++];
      if (allowed_ != kUnlimited) --allowed_;
    }
    if (plan.step == options_.failing_step) {
      on_result_(options_.failure);
      return;
    }
    absl::StatusOr<StepResult> result = shard_.Run(plan);
    const bool ok = result.ok();
    on_result_(std::move(result));
    if (!ok) return;
  }
}

}  // namespace drover::testing
