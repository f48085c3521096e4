#pragma once

#include <signal.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "sharding/ranks/collective.h"
#include "tests/testing/fake_executor.h"

namespace drover::testing {

// Where in its life a process does what to itself.
struct Fault {
  std::string point;  // start, loading, step, stop; empty: nowhere
  bool hang = false;  // stops, as a debugger would stop it; otherwise dies

  void At(const std::string& here) const {
    if (point == here) raise(hang ? SIGSTOP : SIGKILL);
  }
};

// A fake rank that meets the other ranks in every step, as a model does, and
// has its fault in the first one, or when it is stopped.
class FaultyExecutor final : public Executor {
 public:
  // collective: null if it is the only rank.
  FaultyExecutor(Fault fault, std::shared_ptr<Collective> collective)
      : fault_(std::move(fault)),
        collective_(std::move(collective)),
        fake_({.model = [this](absl::Span<const int32_t> ids) {
          return Next(ids);
        }}) {}

  const ExecutorInfo& info() const override { return fake_.info(); }
  void Start(ResultCallback on_result) override {
    fake_.Start([this, on_result = std::move(on_result)](
                    absl::StatusOr<StepResult> result) {
      if (!status_.ok()) result = status_;
      on_result(std::move(result));
    });
  }
  void Submit(BatchPlan plan) override { fake_.Submit(std::move(plan)); }
  void Stop() override {
    fault_.At("stop");
    if (collective_ != nullptr) collective_->Abort();
    fake_.Stop();
  }

 private:
  int32_t Next(absl::Span<const int32_t> ids) {
    fault_.At("step");
    if (collective_ != nullptr && status_.ok()) {
      status_ = collective_->AllReduceMin(0).status();
    }
    return HashedToken(ids);
  }

  const Fault fault_;
  const std::shared_ptr<Collective> collective_;
  absl::Status status_;  // of the executor's thread
  FakeExecutor fake_;
};

}  // namespace drover::testing
