#pragma once

#include <sys/types.h>

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/device_facts.h"
#include "scheduler/batch_plan.h"
#include "scheduler/executor.h"

namespace drover {

// What a shard says when it is ready.
struct ShardReady {
  ExecutorInfo info;
  DeviceFacts device;
};

// The router's view of one rank's shard, wherever it runs. Thread-safe from
// Start on.
class ShardLink {
 public:
  virtual ~ShardLink() = default;

  // Waits until the shard is ready. The status of one that cannot start carries
  // what it said last; RESOURCE_EXHAUSTED if the model does not fit into
  // memory.
  virtual absl::StatusOr<ShardReady> AwaitReady(absl::Duration timeout) = 0;

  // Any thread: the group is lost before it is complete. Ends the shard, and
  // AwaitReady.
  virtual void Abandon(const absl::Status& why) = 0;

  // Right after AwaitReady. `on_result` and, once, `on_end` run on threads of
  // the link's; the status of the end is its cause: what the shard said
  // it failed of (see CodeOfFailure), or UNAVAILABLE.
  virtual void Start(std::function<void(StepResult)> on_result,
                     std::function<void(absl::Status)> on_end) = 0;

  // Never blocks. Dropped if the shard is gone.
  virtual void Submit(const BatchPlan& plan) = 0;

  // No more plans; waits until the shard has left, or for some seconds. `why`:
  // OK if the router ends, else what it lost.
  virtual void Close(const absl::Status& why) = 0;

  // Of its process; 0 if that is on another host.
  virtual pid_t pid() const = 0;
};

}  // namespace drover
