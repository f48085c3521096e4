#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/bounded_queue.h"
#include "scheduler/request.h"
#include "server/continuation.h"
#include "server/generator.h"

namespace drover {

class EmittedRequest;

// The engine's id for a request; its other messages wait for it.
struct RequestSubmitted {
  RequestId id = 0;
};
// The client is gone, or another input of its call has failed.
struct RequestAbandoned {};

using EmitterMessage =
    std::variant<RequestEvent, RequestSubmitted, RequestAbandoned>;
struct EmitterItem {
  std::shared_ptr<EmittedRequest> request;
  EmitterMessage message;
};
using EmitterQueue = BoundedQueue<EmitterItem>;

// A request between engine and emitter. The engine's thread and the call's
// threads only put messages into the emitter's queue; its thread does the rest.
class EmittedRequest final
    : public RequestSink,
      public std::enable_shared_from_this<EmittedRequest> {
 public:
  // `generator` outlives the emitter that owns `queue`.
  EmittedRequest(std::unique_ptr<Continuation> continuation,
                 Generator& generator, std::shared_ptr<EmitterQueue> queue)
      : generator_(generator),
        queue_(std::move(queue)),
        continuation_(std::move(continuation)) {}

  // Once. After an error the continuation hears nothing.
  absl::Status Submit(Request request);

  // The client is gone, or another input of its call has failed. Any thread.
  void Cancel();

  // The engine's thread.
  void OnEvent(RequestEvent event) override;

  // The emitter's thread.
  void Process(EmitterMessage message);

 private:
  void Handle(RequestEvent event);

  Generator& generator_;
  const std::shared_ptr<EmitterQueue> queue_;

  // ---- The emitter's thread, once submitted ----
  std::unique_ptr<Continuation> continuation_;  // null once ended
  RequestId id_ = 0;                            // 0: not known yet
  std::vector<EmitterMessage> early_;           // came before the id
};

// Threads that turn the engine's events into messages: detokenize, match stop
// sequences, hand increments to the calls. A request stays on one thread. They
// wait for nothing but events, never for a client.
class Emitter {
 public:
  Emitter(int num_threads, Generator& generator);
  // Handles what has been queued, then ends the threads. Events that come later
  // are dropped.
  ~Emitter();

  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  // A request yet to be submitted. Any thread.
  std::shared_ptr<EmittedRequest> Add(
      std::unique_ptr<Continuation> continuation);

 private:
  Generator& generator_;
  std::vector<std::shared_ptr<EmitterQueue>> queues_;  // one per thread
  std::atomic<uint64_t> num_added_{0};
  std::vector<std::thread> threads_;
};

}  // namespace drover
