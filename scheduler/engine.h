#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/bounded_queue.h"
#include "base/clock.h"
#include "scheduler/executor.h"
#include "scheduler/request.h"
#include "scheduler/scheduler.h"

namespace drover {

// Runs the scheduler against an executor on one thread of its own:
// drain the inbox, plan, submit, commit, publish.
class Engine {
 public:
  struct Options {
    SchedulerOptions scheduler;
    // Called on the engine's thread after each step; must not block.
    std::function<void(const StepStats&)> on_step;
    // Called once, on the engine's thread, when the executor is lost. Every
    // open request has been ended with the status by then. `in_prefill`: the
    // step that was due has a prompt in it.
    std::function<void(const absl::Status&, bool in_prefill)> on_executor_lost;
  };

  // `executor` and `clock` outlive the engine.
  Engine(Options options, Executor& executor,
         const Clock& clock = Clock::Monotonic());
  // Ends what is still open with CANCELLED and joins the thread.
  ~Engine();

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  void Start();

  // ---- Any thread ----

  // RESOURCE_EXHAUSTED "Server too busy" if the queue is full, UNAVAILABLE if
  // the engine is stopping or its executor is lost; `sink` is then never
  // called. The sink lives until its RequestEnded.
  absl::StatusOr<RequestId> Submit(Request request,
                                   std::shared_ptr<RequestSink> sink);

  // The owner has found a stop sequence; later tokens are dropped. No-op for a
  // request that has ended.
  void Stop(RequestId id);
  // The client is gone. No-op for a request that has ended.
  void Cancel(RequestId id);

  // Ends every open request with `status`, and refuses new ones with it.
  void Shutdown(absl::Status status);

  // Waits until every request has ended; false if `timeout` passed first. What
  // serves waits for calls (Admission); this is for those who have none.
  bool WaitUntilIdle(absl::Duration timeout) const;

  // True while the loop turns: it has started, its executor is not lost, and no
  // plan has been without result for longer than `patience`.
  bool IsLive(absl::Duration patience) const;

 private:
  struct SubmitMessage {
    RequestId id = 0;
    Request request;
    std::shared_ptr<RequestSink> sink;
  };
  struct StopMessage {
    RequestId id = 0;
  };
  struct CancelMessage {
    RequestId id = 0;
  };
  struct ShutdownMessage {
    absl::Status status;
  };
  struct ResultMessage {
    absl::StatusOr<StepResult> result;
  };
  using Message = std::variant<SubmitMessage, StopMessage, CancelMessage,
                               ShutdownMessage, ResultMessage>;

  // ---- The engine's thread ----
  void Run();
  void Handle(SubmitMessage& message);
  void Handle(StopMessage& message) { scheduler_.Stop(message.id); }
  void Handle(CancelMessage& message) { scheduler_.Cancel(message.id); }
  void Handle(ShutdownMessage& message);
  void Handle(ResultMessage& message);
  void SubmitPlans();
  void Publish();
  void LoseExecutor(const absl::Status& status, bool in_prefill);

  void AddOpen(int delta) ABSL_LOCKS_EXCLUDED(mutex_);
  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return num_open_ == 0;
  }

  const Options options_;
  Executor& executor_;
  const Clock& clock_;
  BoundedQueue<Message> inbox_;
  std::atomic<RequestId> next_id_{1};
  std::atomic<int> num_queued_{0};

  // The engine's thread only.
  Scheduler scheduler_;
  struct Owner {
    std::shared_ptr<RequestSink> sink;
    bool queued = true;
  };
  std::unordered_map<RequestId, Owner> owners_;
  absl::Status refusal_;  // not OK: new requests end with it

  // For IsLive: when the oldest plan in flight was submitted, in nanoseconds of
  // the clock; 0 while none is.
  std::atomic<int64_t> waiting_since_ns_{0};
  std::atomic<bool> alive_{false};

  mutable absl::Mutex mutex_;
  int num_open_ ABSL_GUARDED_BY(mutex_) = 0;

  std::thread thread_;
};

}  // namespace drover
