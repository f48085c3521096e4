#include "server/emitter.h"

#include <limits>
#include <utility>

namespace drover {
namespace {

void Run(EmitterQueue& queue) {
  while (true) {
    std::vector<EmitterItem> items = queue.PopAll();
    if (items.empty()) return;  // closed, and nothing is left
    for (EmitterItem& item : items) {
      item.request->Process(std::move(item.message));
    }
  }
}

}  // namespace

absl::Status EmittedRequest::Submit(Request request) {
  const absl::StatusOr<RequestId> id =
      generator_.Submit(std::move(request), shared_from_this());
  if (!id.ok()) {
    continuation_ = nullptr;
    return id.status();
  }
  queue_->Push({shared_from_this(), RequestSubmitted{*id}});
  return absl::OkStatus();
}

void EmittedRequest::Cancel() {
  queue_->Push({shared_from_this(), RequestAbandoned{}});
}

void EmittedRequest::OnEvent(RequestEvent event) {
  queue_->Push({shared_from_this(), std::move(event)});
}

void EmittedRequest::Process(EmitterMessage message) {
  if (const auto* submitted = std::get_if<RequestSubmitted>(&message)) {
    id_ = submitted->id;
    continuation_->set_request_id(id_);
    for (EmitterMessage& early : std::exchange(early_, {})) {
      Process(std::move(early));
    }
  } else if (id_ == 0) {
    early_.push_back(std::move(message));
  } else if (std::holds_alternative<RequestAbandoned>(message)) {
    generator_.Cancel(id_);
  } else {
    Handle(std::get<RequestEvent>(std::move(message)));
  }
}

void EmittedRequest::Handle(RequestEvent event) {
  const bool ended = std::holds_alternative<RequestEnded>(event);
  if (continuation_->OnEvent(std::move(event))) generator_.Stop(id_);
  if (ended) continuation_ = nullptr;
}

// The number of messages is bounded by what bounds the requests and their
// tokens, and an engine that waited here would hold up everyone.
Emitter::Emitter(int num_threads, Generator& generator)
    : generator_(generator) {
  for (int i = 0; i < num_threads; ++i) {
    queues_.push_back(
        std::make_shared<EmitterQueue>(std::numeric_limits<size_t>::max()));
    threads_.emplace_back([queue = queues_.back()] { Run(*queue); });
  }
}

Emitter::~Emitter() {
  for (const auto& queue : queues_) queue->Close();
  for (std::thread& thread : threads_) thread.join();
}

std::shared_ptr<EmittedRequest> Emitter::Add(
    std::unique_ptr<Continuation> continuation) {
  const size_t index = num_added_.fetch_add(1) % queues_.size();
  return std::make_shared<EmittedRequest>(std::move(continuation), generator_,
                                          queues_[index]);
}

}  // namespace drover
