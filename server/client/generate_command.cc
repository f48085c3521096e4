#include "server/client/generate_command.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <atomic>
#include <ostream>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/strings.h"
#include "proto/generation.grpc.pb.h"
#include "server/signal_listener.h"

namespace drover {
namespace {

constexpr int kExitInterrupted = 130;  // 128 + SIGINT

bool WantsSampling(const GenerateOptions& options) {
  return options.sample || options.temperature || options.top_k ||
         options.top_p || options.typical_p || options.seed;
}

void FillSampling(const GenerateOptions& options,
                  fmaas::SamplingParameters& sampling) {
  if (options.temperature) sampling.set_temperature(*options.temperature);
  if (options.top_k) sampling.set_top_k(*options.top_k);
  if (options.top_p) sampling.set_top_p(*options.top_p);
  if (options.typical_p) sampling.set_typical_p(*options.typical_p);
  if (options.seed) sampling.set_seed(*options.seed);
}

void FillStopping(const GenerateOptions& options,
                  fmaas::StoppingCriteria& stopping) {
  stopping.set_max_new_tokens(
      options.max_new_tokens.value_or(kDefaultMaxNewTokens));
  stopping.set_min_new_tokens(options.min_new_tokens);
  stopping.set_time_limit_millis(options.time_limit_millis);
  for (const std::string& stop : options.stop_sequences) {
    stopping.add_stop_sequences(stop);
  }
  if (options.include_stop_sequence) {
    stopping.set_include_stop_sequence(*options.include_stop_sequence);
  }
}

// A length that nobody asked for is no reason for a refusal.
grpc::Status LowerToLimit(fmaas::GenerationService::StubInterface& stub,
                          grpc::ClientContext& context,
                          fmaas::StoppingCriteria& stopping) {
  fmaas::ModelInfoResponse limits;
  const grpc::Status status = stub.ModelInfo(&context, {}, &limits);
  if (status.ok() && limits.max_new_tokens() > 0) {
    stopping.set_max_new_tokens(
        std::min(stopping.max_new_tokens(), limits.max_new_tokens()));
  }
  return status;
}

// What the stream told, for the last line.
struct StreamSummary {
  fmaas::GenerationResponse last;
  uint32_t num_input_tokens = 0;
  absl::Duration to_first_token;
  absl::Duration to_end;
};

std::string Statistics(const StreamSummary& summary) {
  const uint32_t num_tokens = summary.last.generated_token_count();
  std::string line =
      absl::StrFormat("[%d tokens in, %d out in %.2f s; first after %.0f ms",
                      summary.num_input_tokens, num_tokens,
                      absl::ToDoubleSeconds(summary.to_end),
                      absl::ToDoubleMilliseconds(summary.to_first_token));
  const double decoding =
      absl::ToDoubleSeconds(summary.to_end - summary.to_first_token);
  if (num_tokens > 1 && decoding > 0) {
    line +=
        absl::StrFormat(", then %.1f tokens/s", (num_tokens - 1) / decoding);
  }
  line += StrCat("; ", fmaas::StopReason_Name(summary.last.stop_reason()));
  if (summary.last.seed() != 0) {
    line += StrCat("; seed ", summary.last.seed());
  }
  return line + "]";
}

// Prints the text as it comes.
grpc::Status Stream(fmaas::GenerationService::StubInterface& stub,
                    grpc::ClientContext& context,
                    const fmaas::SingleGenerationRequest& request,
                    std::ostream& out, StreamSummary& summary) {
  const Clock& clock = Clock::Monotonic();
  const absl::Time begin = clock.Now();
  const auto reader = stub.GenerateStream(&context, request);
  fmaas::GenerationResponse response;
  while (reader->Read(&response)) {
    out << response.text() << std::flush;
    if (!out) context.TryCancel();  // nobody reads this
    if (summary.num_input_tokens == 0) {
      summary.num_input_tokens = response.input_token_count();
    }
    if (response.generated_token_count() == 0) continue;
    if (summary.last.generated_token_count() == 0) {
      summary.to_first_token = clock.Now() - begin;
    }
    std::swap(summary.last, response);
  }
  summary.to_end = clock.Now() - begin;
  return reader->Finish();
}

}  // namespace

fmaas::SingleGenerationRequest MakeGenerateRequest(
    const GenerateOptions& options, const std::string& prompt) {
  fmaas::SingleGenerationRequest request;
  request.mutable_request()->set_text(prompt);
  fmaas::Parameters& params = *request.mutable_params();
  if (WantsSampling(options)) {
    params.set_method(fmaas::SAMPLE);
    FillSampling(options, *params.mutable_sampling());
  }
  FillStopping(options, *params.mutable_stopping());
  params.mutable_response()->set_input_text(options.echo);
  params.set_truncate_input_tokens(options.truncate_input_tokens);
  params.mutable_decoding()->set_repetition_penalty(options.repetition_penalty);
  if (options.length_penalty) {
    auto& penalty = *params.mutable_decoding()->mutable_length_penalty();
    penalty.set_start_index(options.length_penalty_start);
    penalty.set_decay_factor(*options.length_penalty);
  }
  return request;
}

int RunGenerate(const GenerateOptions& options, Streams streams) {
  const auto fail = [&](absl::string_view what) {
    streams.err << "drover generate: " << what << std::endl;
    return 1;
  };
  const absl::StatusOr<std::string> prompt =
      TextOrInput(options.prompt, streams.in);
  if (!prompt.ok()) return fail(prompt.status().message());
  fmaas::SingleGenerationRequest request =
      MakeGenerateRequest(options, *prompt);
  SignalListener::BlockSignals();
  grpc::ClientContext limits_context, context;
  std::atomic<bool> interrupted{false};
  const SignalListener signals([&](int) {
    interrupted = true;
    limits_context.TryCancel();
    context.TryCancel();
  });
  const auto stub =
      fmaas::GenerationService::NewStub(Connect(options.address, options.tls));
  StreamSummary summary;
  grpc::Status status;
  if (!options.max_new_tokens.has_value()) {
    status = LowerToLimit(*stub, limits_context,
                          *request.mutable_params()->mutable_stopping());
  }
  if (status.ok()) {
    status = Stream(*stub, context, request, streams.out, summary);
  }
  if (summary.last.generated_token_count() > 0) streams.out << std::endl;
  if (interrupted) return kExitInterrupted;
  if (const int code = FinishOutput("drover generate", streams); code != 0) {
    return code;
  }
  if (!status.ok()) return fail(DescribeFailure(status, options.address));
  if (!options.quiet) streams.err << Statistics(summary) << std::endl;
  return 0;
}

}  // namespace drover
