#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "scheduler/batch_plan.h"

namespace drover {

// What an executor can hold, fixed once it is ready.
struct ExecutorInfo {
  int32_t num_slots = 0;            // sequences on the device at once
  int32_t num_blocks = 0;           // KV blocks, the scratch block included
  int32_t max_step_tokens = 0;      // tokens in one plan, all sequences
  int32_t max_sequence_length = 0;  // longest sequence it can run
  int32_t max_plans_in_flight = 2;  // submitted, result not yet delivered

  bool operator==(const ExecutorInfo&) const = default;
};

// How many of the longest sequences can run at once.
inline int32_t NumFullLengthSequences(const ExecutorInfo& info) {
  const int32_t blocks_each =
      (info.max_sequence_length + kBlockSize - 1) / kBlockSize;
  if (blocks_each == 0) return 0;
  return std::min(info.num_slots, (info.num_blocks - 1) / blocks_each);
}

// Runs plans in the order submitted. The scheduler folder owns this port; the
// model implements it for one rank in process, the shard group for processes
// over gRPC, tests with a scripted fake.
class Executor {
 public:
  // Called once per plan, in order, on a thread of the executor's; must not
  // block. An error means that the executor is lost: no call follows it.
  using ResultCallback = std::function<void(absl::StatusOr<StepResult>)>;

  virtual ~Executor() = default;

  virtual const ExecutorInfo& info() const = 0;

  // Before the first Submit. No call comes after the executor's destructor or
  // Stop has returned.
  virtual void Start(ResultCallback on_result) = 0;

  // Never blocks. At most max_plans_in_flight plans may be without result. A
  // lost executor answers through the callback, not here.
  virtual void Submit(BatchPlan plan) = 0;

  // Ends the callbacks; idempotent.
  virtual void Stop() = 0;
};

}  // namespace drover
