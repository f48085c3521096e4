#include "server/client/bench/timed_stream.h"

#include "base/strings.h"
#include "server/status_conversion.h"

namespace drover::bench {

namespace {

// Every filter, a penalty and scores: what takes a sampler longest.
void AskForFullSampling(fmaas::Parameters& params) {
  params.set_method(fmaas::SAMPLE);
  fmaas::SamplingParameters& sampling = *params.mutable_sampling();
  sampling.set_temperature(0.8f);
  sampling.set_top_k(50);
  sampling.set_top_p(0.95f);
  sampling.set_typical_p(0.95f);
  sampling.set_seed(1);
  params.mutable_decoding()->set_repetition_penalty(1.2f);
  fmaas::ResponseOptions& response = *params.mutable_response();
  response.set_token_logprobs(true);
  response.set_token_ranks(true);
  response.set_top_n_tokens(5);
}

}  // namespace

fmaas::SingleGenerationRequest MakeStreamRequest(const BenchRequest& request) {
  fmaas::SingleGenerationRequest message;
  message.mutable_request()->set_text(request.prompt);
  fmaas::Parameters& params = *message.mutable_params();
  params.set_truncate_input_tokens(static_cast<uint32_t>(request.input_len));
  const auto output_len = static_cast<uint32_t>(request.output_len);
  params.mutable_stopping()->set_min_new_tokens(output_len);
  params.mutable_stopping()->set_max_new_tokens(output_len);
  params.mutable_response()->set_generated_tokens(true);
  if (request.full_sampling) AskForFullSampling(params);
  return message;
}

TimedStream::TimedStream(size_t index, const BenchRequest& request,
                         const Clock& clock, StreamListener& listener)
    : index_(index),
      input_len_(request.input_len),
      output_len_(request.output_len),
      clock_(clock),
      listener_(listener),
      request_(MakeStreamRequest(request)) {
  record_.token_times.reserve(static_cast<size_t>(output_len_));
}

void TimedStream::Start(fmaas::GenerationService::StubInterface& stub) {
  record_.sent_at = clock_.Now();
  stub.async()->GenerateStream(&context_, &request_, this);
  StartRead(&response_);
  StartCall();
}

void TimedStream::OnReadDone(bool ok) {
  const absl::Time now = clock_.Now();
  if (!ok) return;
  NoteMessage(now);
  StartRead(&response_);
}

void TimedStream::NoteMessage(absl::Time now) {
  // Some servers repeat the first message's count, some do not.
  if (response_.input_token_count() > 0) {
    record_.num_input_tokens =
        static_cast<int32_t>(response_.input_token_count());
  }
  stop_reason_ = response_.stop_reason();
  const auto num_tokens =
      static_cast<int32_t>(response_.generated_token_count());
  const int32_t num_new = num_tokens - record_.num_output_tokens;
  if (num_new <= 0) return;
  record_.token_times.push_back(now);
  record_.num_output_tokens = num_tokens;
  if (num_new > 1) ++record_.num_merged_messages;
}

absl::Status TimedStream::CheckLengths() const {
  if (record_.num_output_tokens != output_len_) {
    return absl::InternalError(StrCat("the stream ended with ",
                                      fmaas::StopReason_Name(stop_reason_),
                                      " after ", record_.num_output_tokens,
                                      " tokens, expected ", output_len_));
  }
  if (input_len_ > 0 && record_.num_input_tokens != input_len_) {
    return absl::InternalError(StrCat("the prompt counted as ",
                                      record_.num_input_tokens,
                                      " tokens, expected ", input_len_));
  }
  return absl::OkStatus();
}

void TimedStream::OnDone(const grpc::Status& status) {
  record_.status = status.ok() ? CheckLengths() : FromGrpcStatus(status);
  listener_.OnStreamEnd(index_);
}

}  // namespace drover::bench
