#pragma once

#include <signal.h>
#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "sharding/ranks/collective.h"
#include "tests/testing/fake_executor.h"
#include "tests/testing/shared_region.h"

namespace drover::testing {

// Where in its life a process does what to itself.
struct Fault {
  std::string point;  // start, loading, step, sum, stop; empty: nowhere
  bool hang = false;  // stops, as a debugger would stop it; otherwise dies

  void At(const std::string& here) const {
    if (point == here) raise(hang ? SIGSTOP : SIGKILL);
  }
};

// What ranks add up, more than collectives do at once. A fault in the sum comes
// when something of it is first written: others wait for what follows. One of a
// process.
class FaultySum {
 public:
  explicit FaultySum(const Fault& fault) {
    if (fault.point != "sum") return;
    fault_ = &fault;
    data_ = region_.data();
    mprotect(data_, kBytes, PROT_READ);
    signal(SIGSEGV, OnWrite);
  }

  absl::Status Run(Collective& collective) {
    return collective.AllReduceSum(absl::MakeSpan(
        static_cast<float*>(region_.data()), kBytes / sizeof(float)));
  }

 private:
  static constexpr size_t kBytes = size_t{2} << 20;

  // One that was stopped goes on.
  static void OnWrite(int /*signal*/) {
    fault_->At("sum");
    mprotect(data_, kBytes, PROT_READ | PROT_WRITE);
  }

  static inline const Fault* fault_ = nullptr;
  static inline void* data_ = nullptr;
  const SharedRegion region_{kBytes};
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
      status_ = sum_.Run(*collective_);
    }
    return HashedToken(ids);
  }

  const Fault fault_;
  const std::shared_ptr<Collective> collective_;
  FaultySum sum_{fault_};
  absl::Status status_;  // of the executor's thread
  FakeExecutor fake_;
};

}  // namespace drover::testing
