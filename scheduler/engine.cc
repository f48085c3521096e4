#include "scheduler/engine.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace drover {
namespace {

// Requests are bounded by num_queued_; the other messages by the requests that
// are open and the plans in flight. So nothing is ever refused by the inbox.
constexpr size_t kInboxCapacity = 1 << 20;

}  // namespace

Engine::Engine(Options options, Executor& executor, const Clock& clock)
    : options_(std::move(options)),
      executor_(executor),
      clock_(clock),
      inbox_(kInboxCapacity),
      scheduler_(options_.scheduler, executor.info()) {}

Engine::~Engine() {
  inbox_.Close();
  if (thread_.joinable()) thread_.join();
  executor_.Stop();
}

void Engine::Start() {
  executor_.Start([this](absl::StatusOr<StepResult> result) {
    inbox_.Push(ResultMessage{std::move(result)});
  });
  alive_ = true;
  thread_ = std::thread([this] { Run(); });
}

// ---- Any thread ----

absl::StatusOr<RequestId> Engine::Submit(Request request,
                                         std::shared_ptr<RequestSink> sink) {
  if (num_queued_.fetch_add(1) >= options_.scheduler.max_queue_len) {
    num_queued_.fetch_sub(1);
    return absl::ResourceExhaustedError("Server too busy");
  }
  const RequestId id = next_id_.fetch_add(1);
  AddOpen(1);
  if (!inbox_.Push(SubmitMessage{id, std::move(request), std::move(sink)})) {
    num_queued_.fetch_sub(1);
    AddOpen(-1);
    return absl::UnavailableError("the server is shutting down");
  }
  return id;
}

void Engine::Stop(RequestId id) { inbox_.Push(StopMessage{id}); }

void Engine::Cancel(RequestId id) { inbox_.Push(CancelMessage{id}); }

void Engine::Shutdown(absl::Status status) {
  inbox_.Push(ShutdownMessage{std::move(status)});
}

void Engine::AddOpen(int delta) {
  absl::MutexLock lock(&mutex_);
  num_open_ += delta;
}

bool Engine::WaitUntilIdle(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(this, &Engine::IsIdle),
                                 timeout);
}

bool Engine::IsLive(absl::Duration patience) const {
  if (!alive_) return false;
  const int64_t since = waiting_since_ns_;
  return since == 0 || clock_.Now() - absl::FromUnixNanos(since) <= patience;
}

// ---- The engine's thread ----

void Engine::Run() {
  while (true) {
    std::vector<Message> messages = inbox_.PopAll();
    if (messages.empty()) break;  // closed
    for (Message& message : messages) {
      std::visit([this](auto& m) { Handle(m); }, message);
    }
    SubmitPlans();
    Publish();
  }
  scheduler_.EndAll(EndCause::kCancelled,
                    absl::CancelledError("the server is shutting down"));
  Publish();
  alive_ = false;
}

void Engine::Handle(SubmitMessage& message) {
  owners_.emplace(message.id, Owner{.sink = std::move(message.sink)});
  scheduler_.Add(message.id, std::move(message.request));
  if (!refusal_.ok()) scheduler_.EndAll(EndCause::kEngineFailed, refusal_);
}

void Engine::Handle(ShutdownMessage& message) {
  if (refusal_.ok()) refusal_ = message.status;
  scheduler_.EndAll(EndCause::kEngineFailed, refusal_);
}

void Engine::Handle(ResultMessage& message) {
  if (!alive_) return;  // lost already
  const bool in_prefill = scheduler_.oldest_plan_has_prefill();
  absl::Status status = message.result.status();
  if (status.ok()) status = scheduler_.Commit(*message.result, clock_.Now());
  if (!status.ok()) {
    LoseExecutor(status, in_prefill);
  } else if (options_.on_step) {
    options_.on_step(scheduler_.last_step());
  }
}

void Engine::LoseExecutor(const absl::Status& status, bool in_prefill) {
  alive_ = false;
  if (refusal_.ok()) refusal_ = status;
  scheduler_.EndAll(EndCause::kEngineFailed, status);
  Publish();
  if (options_.on_executor_lost) {
    options_.on_executor_lost(status, in_prefill);
  }
}

void Engine::SubmitPlans() {
  while (alive_) {
    std::optional<BatchPlan> plan = scheduler_.Plan(clock_.Now());
    if (!plan) break;
    executor_.Submit(*std::move(plan));
  }
  const absl::Time oldest = scheduler_.oldest_plan_time();
  waiting_since_ns_ =
      oldest == absl::InfiniteFuture() ? 0 : absl::ToUnixNanos(oldest);
}

void Engine::Publish() {
  for (auto& [id, event] : scheduler_.TakeEvents()) {
    const auto it = owners_.find(id);
    const bool ended = std::holds_alternative<RequestEnded>(event);
    if (it->second.queued &&
        (ended || std::holds_alternative<RequestScheduled>(event))) {
      it->second.queued = false;
      num_queued_.fetch_sub(1);
    }
    it->second.sink->OnEvent(std::move(event));
    if (ended) {
      owners_.erase(it);
      AddOpen(-1);
    }
  }
}

}  // namespace drover
