#include "server/generation_service.h"

#include <algorithm>
#include <utility>

#include "server/call_preparation.h"
#include "server/checked_methods.h"
#include "server/status_conversion.h"
#include "server/stream_call.h"
#include "server/tokenize.h"
#include "server/unary_call.h"

namespace drover {

GenerationService::GenerationService(const ServiceOptions& options,
                                     Generator& generator,
                                     const Tokenizer& tokenizer,
                                     PrefixLookup::Options prefixes,
                                     RequestObserver& observer,
                                     const Clock& clock)
    : options_(options),
      tokenizer_(tokenizer),
      observer_(observer),
      clock_(clock),
      admission_(options_.max_concurrent_requests),
      emitter_(options_.num_emitter_threads, generator),
      tokenization_(options_.num_tokenization_threads),
      prefixes_(std::move(prefixes)),
      context_{.options = options_,
               .tokenizer = tokenizer_,
               .prefixes = prefixes_,
               .observer = observer_,
               .clock = clock_,
               .admission = admission_,
               .seeds = seeds_,
               .emitter = emitter_,
               .tokenization = tokenization_} {
  // In the order of the .proto file, in place of what the base class marked.
  const OnNotParsed tell = [this](const grpc::CallbackServerContext& context,
                                  const absl::Status& status) {
    observer_.OnNotParsed(
        {.status = status, .correlation_id = CorrelationId(context)});
  };
  MarkMethodCallback(
      0, MakeUnaryHandler(*this, &GenerationService::Generate, tell));
  MarkMethodCallback(
      1, MakeStreamHandler(*this, &GenerationService::GenerateStream, tell));
  MarkMethodCallback(
      2, MakeUnaryHandler(*this, &GenerationService::Tokenize, tell));
  MarkMethodCallback(
      3, MakeUnaryHandler(*this, &GenerationService::ModelInfo, tell));
}

grpc::ServerUnaryReactor* GenerationService::Generate(
    grpc::CallbackServerContext* context,
    const fmaas::BatchedGenerationRequest* request,
    fmaas::BatchedGenerationResponse* response) {
  if (request->requests().empty()) {
    // Nothing is asked for, so nothing is checked.
    const CallInfo call = MakeCallInfo(CallKind::kBatch, *context, clock_);
    observer_.OnCall(call.kind, /*num_inputs=*/0);
    observer_.OnUncounted(
        {.call = call.kind, .correlation_id = call.correlation_id});
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  return UnaryCall::Start(context_, *context, *request, *response);
}

grpc::ServerWriteReactor<fmaas::GenerationResponse>*
GenerationService::GenerateStream(
    grpc::CallbackServerContext* context,
    const fmaas::SingleGenerationRequest* request) {
  return StreamCall::Start(context_, *context, *request);
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(
    grpc::CallbackServerContext* context,
    const fmaas::BatchedTokenizeRequest* request,
    fmaas::BatchedTokenizeResponse* response) {
  observer_.OnTokenizeCall(request->requests_size());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  // Request and response live until the reactor has finished.
  const auto answer = [this, request, response, reactor,
                       begin = clock_.Now()](absl::Status status) {
    if (status.ok()) status = TokenizeTexts(*request, tokenizer_, *response);
    if (status.ok()) ReportTokenized(*response, clock_.Now() - begin);
    reactor->Finish(ToGrpcStatus(status));
  };
  // What is refused anyhow needs no prefix.
  const bool needs_prefix =
      !request->requests().empty() && request->adapter_id().empty();
  prefixes_.Find(needs_prefix ? request->prefix_id() : "",
                 [this, answer](const absl::StatusOr<SharedPrefix>& found) {
                   tokenization_.Run(
                       [answer, status = found.status()] { answer(status); });
                 });
  return reactor;
}

void GenerationService::ReportTokenized(
    const fmaas::BatchedTokenizeResponse& response, absl::Duration duration) {
  TokenizedCall call = {.num_inputs = response.responses_size(),
                        .duration = duration};
  for (const fmaas::TokenizeResponse& text : response.responses()) {
    call.token_counts.push_back(static_cast<int32_t>(text.token_count()));
  }
  observer_.OnTokenized(call);
}

grpc::ServerUnaryReactor* GenerationService::ModelInfo(
    grpc::CallbackServerContext* context,
    const fmaas::ModelInfoRequest* /*request*/,
    fmaas::ModelInfoResponse* response) {
  response->set_model_kind(fmaas::ModelInfoResponse::DECODER_ONLY);
  response->set_max_sequence_length(
      static_cast<uint32_t>(options_.max_sequence_length));
  response->set_max_new_tokens(static_cast<uint32_t>(
      std::min(options_.max_new_tokens, options_.max_sequence_length - 1)));
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace drover
