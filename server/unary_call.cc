#include "server/unary_call.h"

#include <utility>

#include "server/response_messages.h"
#include "server/status_conversion.h"

namespace drover {

UnaryCall* UnaryCall::Start(const ServiceContext& service,
                            const grpc::CallbackServerContext& context,
                            const fmaas::BatchedGenerationRequest& request,
                            fmaas::BatchedGenerationResponse& response) {
  const CallKind kind =
      request.requests_size() == 1 ? CallKind::kSingle : CallKind::kBatch;
  auto call = std::make_shared<UnaryCall>(
      service, MakeCallInfo(kind, context, service.clock), response);
  call->self_ = call;
  call->Begin(request);
  // gRPC has not seen the reactor yet, so OnDone is still to come.
  return call.get();
}

void UnaryCall::Begin(const fmaas::BatchedGenerationRequest& message) {
  const int num_inputs = message.requests_size();
  service_.observer.OnCall(call_.kind, num_inputs);
  absl::MutexLock lock(&mutex_);
  absl::StatusOr<Admission::Permits> permits =
      service_.admission.Acquire(num_inputs);
  if (!permits.ok()) {
    return Fail(AdmissionFailureKind(permits.status()), 1, permits.status());
  }
  permits_ = *std::move(permits);
  preparing_ = true;
  num_unfinished_ = num_inputs;
  service_.tokenization.Run(
      [self = shared_from_this(), &message] { self->Prepare(message); });
}

void UnaryCall::Prepare(const fmaas::BatchedGenerationRequest& message) {
  std::vector<std::string_view> texts;
  for (const auto& request : message.requests()) {
    texts.push_back(request.text());
  }
  PrepareCall({.texts = std::move(texts),
               .params = message.params(),
               .prefix_id = message.prefix_id(),
               .adapter_id = message.adapter_id()},
              call_, service_,
              [self = shared_from_this(), &message](PreparedCall prepared) {
                self->OnPrepared(std::move(prepared), message);
              });
}

void UnaryCall::OnPrepared(PreparedCall prepared,
                           const fmaas::BatchedGenerationRequest& message) {
  absl::MutexLock lock(&mutex_);
  preparing_ = false;
  // The client has left meanwhile.
  if (end_.has_value()) return FinishIfEnded();
  if (!prepared.ok()) {
    return Fail(PreparationFailureKind(prepared.status()), 1,
                prepared.status());
  }
  Submit(*std::move(prepared), message);
}

void UnaryCall::Submit(std::vector<PreparedRequest> prepared,
                       const fmaas::BatchedGenerationRequest& message) {
  const int num_inputs = message.requests_size();
  inputs_.reserve(num_inputs);
  for (int i = 0; i < num_inputs; ++i) {
    const Continuation::Options& options = prepared[i].continuation;
    fmaas::GenerationResponse& response = *response_.add_responses();
    response.set_input_token_count(
        static_cast<uint32_t>(options.prompt_ids.size()));
    if (options.details.input_text) {
      response.set_text(message.requests(i).text());
    }
    inputs_.emplace_back(*this, i);
  }
  for (int i = 0; i < num_inputs; ++i) {
    // Shares the ownership of the call, points to the input.
    std::shared_ptr<ContinuationListener> listener(shared_from_this(),
                                                   &inputs_[i]);
    requests_.push_back(service_.emitter.Add(std::make_unique<Continuation>(
        std::move(prepared[i].continuation), service_.tokenizer,
        service_.observer, service_.clock, std::move(listener))));
    const absl::Status status =
        requests_.back()->Submit(std::move(prepared[i].request));
    if (!status.ok()) return Fail(SubmitFailureKind(status), 1, status);
  }
}

void UnaryCall::OnMessage(int index, const fmaas::GenerationResponse& message,
                          bool is_last) {
  absl::MutexLock lock(&mutex_);
  if (end_.has_value()) return;
  fmaas::GenerationResponse& response = *response_.mutable_responses(index);
  // The message with the prompt's tokens counts a prefix, an answer does not.
  const uint32_t input_token_count = response.input_token_count();
  AppendMessage(message, response);
  response.set_input_token_count(input_token_count);
  if (!is_last) return;
  // Without a single token there is no echo either.
  if (response.generated_token_count() == 0) response.clear_text();
  if (--num_unfinished_ == 0) End(absl::OkStatus());
}

void UnaryCall::OnFailed(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (end_.has_value()) return;
  // Nobody waits any more: as when the client goes away.
  const FailureKind kind = GenerationFailureKind(status);
  Fail(kind, kind == FailureKind::kCancelled ? num_unfinished_ : 1, status);
}

void UnaryCall::OnCancel() {
  absl::MutexLock lock(&mutex_);
  if (end_.has_value()) return;
  Fail(FailureKind::kCancelled, num_unfinished_,
       absl::CancelledError("the client is gone"));
}

void UnaryCall::OnDone() {
  const std::shared_ptr<UnaryCall> self = std::move(self_);
  absl::MutexLock lock(&mutex_);
  requests_.clear();
}

void UnaryCall::Fail(FailureKind kind, int num_failures,
                     const absl::Status& status) {
  service_.observer.OnFailed({.kind = kind,
                              .call = call_.kind,
                              .num_failures = num_failures,
                              .status = status,
                              .correlation_id = call_.correlation_id});
  for (const auto& request : requests_) request->Cancel();
  End(status);
}

void UnaryCall::End(const absl::Status& status) {
  end_ = status;
  FinishIfEnded();
}

void UnaryCall::FinishIfEnded() {
  if (preparing_ || !end_.has_value()) return;
  // Released first, so that a client which has seen the answer is admitted.
  permits_.Release();
  Finish(ToGrpcStatus(*end_));
}

}  // namespace drover
