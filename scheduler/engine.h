#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
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
    // open request has been ended with the status by then.
    std::function<void(const absl::Status&)> on_executor_lost;
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

  // Requests submitted and not yet ended.
  int num_open_requests() const { return num_open_.load(); }

  // True while the loop turns: it has started, its executor is not lost, and no
  // plan has been without result for longer than `patience`.
  bool IsLive(absl::Duration patience) const;

 private:
  struct SubmitMessage {
    RequestId id;
    Request request;
    std::shared_ptr<RequestSink> sink;
  };
  struct StopMessage {
    RequestId id;
  };
  struct CancelMessage {
    RequestId id;
  };
  struct ResultMessage {
    absl::StatusOr<StepResult> result;
  };
  using Message =
      std::variant<SubmitMessage, StopMessage, CancelMessage, ResultMessage>;

  void Run();
  void Handle(Message message);
  void SubmitPlans();
  void Commit(const absl::StatusOr<StepResult>& result);
  absl::Duration IdleTimeout() const;

  const Options options_;
  Executor& executor_;
  const Clock& clock_;
  Scheduler scheduler_;
  BoundedQueue<Message> inbox_;
  std::atomic<RequestId> next_id_{1};
  std::atomic<int> num_open_{0};
  std::atomic<int> num_queued_{0};
  std::atomic<bool> lost_{false};
  // Nanoseconds of the clock when the oldest plan in flight was submitted;
  // 0 while none is.
  std::atomic<int64_t> oldest_plan_ns_{0};
  absl::Status lost_status_;
  std::thread thread_;
};

}  // namespace drover
