#include "server/stream_call.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/status_conversion.h"

namespace drover {
namespace {

fmaas::GenerationResponse Acknowledgement(const Continuation::Options& options,
                                          const std::string& text) {
  fmaas::GenerationResponse message;
  message.set_input_token_count(
      static_cast<uint32_t>(options.prompt_ids.size()));
  if (options.sampled) message.set_seed(options.seed);
  if (options.details.input_text) message.set_text(text);
  return message;
}

}  // namespace

StreamCall* StreamCall::Start(const ServiceContext& service,
                              const grpc::CallbackServerContext& context,
                              const fmaas::SingleGenerationRequest& request) {
  auto call = std::make_shared<StreamCall>(
      service, MakeCallInfo(CallKind::kStream, context, service.clock));
  call->self_ = call;
  call->Begin(request);
  // gRPC has not seen the reactor yet, so OnDone is still to come.
  return call.get();
}

void StreamCall::Begin(const fmaas::SingleGenerationRequest& message) {
  service_.observer.OnCall(CallKind::kStream, /*num_inputs=*/1);
  absl::MutexLock lock(&mutex_);
  absl::StatusOr<Admission::Permits> permits =
      service_.admission.Acquire(/*num_inputs=*/1);
  if (!permits.ok()) {
    return Fail(AdmissionFailureKind(permits.status()), permits.status());
  }
  permits_ = *std::move(permits);
  if (!message.has_request()) {
    // The one error that TGIS does not count.
    const absl::Status status = absl::InvalidArgumentError("missing request");
    service_.observer.OnUncounted({.call = call_.kind,
                                   .status = status,
                                   .correlation_id = call_.correlation_id});
    return End(status);
  }
  preparing_ = true;
  service_.tokenization.Run(
      [self = shared_from_this(), &message] { self->Prepare(message); });
}

void StreamCall::Prepare(const fmaas::SingleGenerationRequest& message) {
  PrepareCall({.texts = {message.request().text()},
               .params = message.params(),
               .prefix_id = message.prefix_id(),
               .adapter_id = message.adapter_id()},
              call_, service_,
              [self = shared_from_this(), &message](PreparedCall prepared) {
                self->OnPrepared(std::move(prepared), message);
              });
}

void StreamCall::OnPrepared(PreparedCall prepared,
                            const fmaas::SingleGenerationRequest& message) {
  absl::MutexLock lock(&mutex_);
  preparing_ = false;
  // The client has left meanwhile.
  if (end_.has_value()) return Advance();
  if (!prepared.ok()) {
    return Fail(PreparationFailureKind(prepared.status()), prepared.status());
  }
  outbox_.Push(Acknowledgement(prepared->front().continuation,
                               message.request().text()));
  Advance();
  Submit(std::move(prepared->front()));
}

void StreamCall::Submit(PreparedRequest prepared) {
  request_ = service_.emitter.Add(std::make_unique<Continuation>(
      std::move(prepared.continuation), service_.tokenizer, service_.observer,
      service_.clock, shared_from_this()));
  const absl::Status status = request_->Submit(std::move(prepared.request));
  if (!status.ok()) Fail(SubmitFailureKind(status), status);
}

void StreamCall::OnMessage(fmaas::GenerationResponse message, bool is_last) {
  absl::MutexLock lock(&mutex_);
  if (end_.has_value()) return;
  outbox_.Push(std::move(message));
  if (is_last) return End(absl::OkStatus());
  Advance();
  const int64_t limit = service_.options.max_pending_stream_bytes;
  if (outbox_.num_output_bytes() > limit) {
    Abandon(FailureKind::kSlowReader,
            absl::ResourceExhaustedError(absl::StrCat(
                "the client reads too slowly: more than ", limit,
                " bytes of output wait for it (max_pending_stream_bytes)")));
  }
}

void StreamCall::OnFailed(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (!end_.has_value()) Fail(GenerationFailureKind(status), status);
}

void StreamCall::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  write_in_flight_ = false;
  if (ok) {
    Advance();
  } else {
    Abandon(FailureKind::kCancelled,
            absl::CancelledError("the client is gone"));
  }
}

void StreamCall::OnCancel() {
  absl::MutexLock lock(&mutex_);
  Abandon(FailureKind::kCancelled, absl::CancelledError("the client is gone"));
}

void StreamCall::OnDone() {
  const std::shared_ptr<StreamCall> self = std::move(self_);
  absl::MutexLock lock(&mutex_);
  request_ = nullptr;
}

void StreamCall::End(const absl::Status& status) {
  if (!end_.has_value()) end_ = status;
  Advance();
}

void StreamCall::Fail(FailureKind kind, const absl::Status& status) {
  service_.observer.OnFailed({.kind = kind,
                              .call = call_.kind,
                              .num_failures = 1,
                              .status = status,
                              .correlation_id = call_.correlation_id});
  End(status);
}

void StreamCall::Abandon(FailureKind kind, const absl::Status& status) {
  if (finish_called_) return;
  outbox_.Clear();
  if (end_.has_value()) {
    // The text was complete, or another failure came first.
    Advance();
    return;
  }
  if (request_ != nullptr) request_->Cancel();
  Fail(kind, status);
}

void StreamCall::Advance() {
  if (preparing_ || write_in_flight_ || finish_called_) return;
  if (!outbox_.empty()) {
    in_flight_ = outbox_.Pop();
    write_in_flight_ = true;
  }
  const bool ends = end_.has_value() && outbox_.empty();
  if (ends) {
    // Released first, so that a client which has seen the end is admitted.
    permits_.Release();
    finish_called_ = true;
  }
  if (ends && write_in_flight_) {
    StartWriteAndFinish(&in_flight_, grpc::WriteOptions(), ToGrpcStatus(*end_));
  } else if (ends) {
    Finish(ToGrpcStatus(*end_));
  } else if (write_in_flight_) {
    StartWrite(&in_flight_);
  }
}

}  // namespace drover
