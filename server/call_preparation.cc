#include "server/call_preparation.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "server/input_preparation.h"
#include "server/parameters.h"

namespace drover {
namespace {

// Long enough for every scheme of ids in use, short enough for a log line.
constexpr size_t kMaxCorrelationIdBytes = 256;

absl::Time ClientDeadline(const grpc::CallbackServerContext& context,
                          const Clock& clock) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) {
    return absl::InfiniteFuture();
  }
  return clock.Now() + (absl::FromChrono(deadline) - absl::Now());
}

int32_t NumTokens(const SharedPrefix& prefix) {
  return prefix == nullptr ? 0 : prefix->num_tokens;
}

PreparedRequest MakeRequest(PreparedInput input, const SharedPrefix& prefix,
                            const GenerationParameters& params,
                            const CallInfo& call, absl::Time now,
                            const ServiceContext& context) {
  const bool sampled = !params.sampling.greedy;
  PreparedRequest prepared;
  Request& request = prepared.request;
  request.prefix = prefix;
  request.sampling = params.sampling;
  if (sampled) {
    request.sampling.seed =
        params.seed.has_value() ? *params.seed : context.seeds.Next();
  }
  request.max_new_tokens = input.max_new_tokens;
  request.arrival = call.arrival;
  request.time_limit = now + params.time_limit;
  request.client_deadline = call.client_deadline;

  prepared.continuation = {
      .call = call.kind,
      .correlation_id = call.correlation_id,
      .arrival = call.arrival,
      .num_prefix_tokens = NumTokens(prefix),
      .pad_id = context.prefixes.pad_id(),
      .prompt_ids = input.prompt_ids,
      .sampled = sampled,
      .seed = request.sampling.seed,
      .details = params.details,
      .text = {.stop_sequences = params.stop_sequences,
               .include_stop_sequence = params.include_stop_sequence,
               .min_new_tokens = params.sampling.min_new_tokens,
               .last_token_reason = input.cut_by_context ? fmaas::TOKEN_LIMIT
                                                         : fmaas::MAX_TOKENS},
      .output_special_tokens = context.options.output_special_tokens};
  request.prompt_ids = std::move(input.prompt_ids);
  return prepared;
}

// A call whose message passed the rules for parameters.
struct CheckedCall {
  CallMessage message;
  const CallInfo& call;
  absl::Time begin;
  GenerationParameters params;
};

PreparedCall MakeRequests(const CheckedCall& checked,
                          const SharedPrefix& prefix,
                          const ServiceContext& context) {
  const GenerationParameters& params = checked.params;
  std::vector<PreparedRequest> requests;
  std::vector<ValidatedInput> validated;
  for (const std::string_view text : checked.message.texts) {
    DROVER_ASSIGN_OR_RETURN(std::vector<int32_t> prompt_ids,
                            EncodePrompt(text, context.tokenizer));
    context.observer.OnEncoded(static_cast<int32_t>(prompt_ids.size()));
    DROVER_ASSIGN_OR_RETURN(
        PreparedInput input,
        PrepareInput(std::move(prompt_ids), context.tokenizer.bos_id(),
                     NumTokens(prefix), params, context.options));
    validated.push_back(
        {.input_token_count = static_cast<int32_t>(input.prompt_ids.size()),
         .max_new_tokens = params.max_new_tokens});
    requests.push_back(MakeRequest(std::move(input), prefix, params,
                                   checked.call, checked.begin, context));
  }
  const absl::Duration duration = context.clock.Now() - checked.begin;
  for (PreparedRequest& request : requests) {
    request.continuation.validation_time = duration;
  }
  context.observer.OnValidated(validated, duration);
  return requests;
}

}  // namespace

std::string CorrelationId(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("x-correlation-id");
  if (found == metadata.end()) return "";
  const grpc::string_ref id = found->second;
  return std::string(id.data(), std::min(id.size(), kMaxCorrelationIdBytes));
}

CallInfo MakeCallInfo(CallKind kind, const grpc::CallbackServerContext& context,
                      const Clock& clock) {
  return {.kind = kind,
          .correlation_id = CorrelationId(context),
          .arrival = clock.Now(),
          .client_deadline = ClientDeadline(context, clock)};
}

void PrepareCall(CallMessage message, const CallInfo& call,
                 const ServiceContext& context,
                 std::function<void(PreparedCall)> done) {
  const absl::Time begin = context.clock.Now();
  absl::StatusOr<GenerationParameters> params =
      ConvertParameters(message.params, context.options);
  if (!params.ok()) return done(params.status());
  if (const absl::Status checked = CheckNoAdapter(message.adapter_id);
      !checked.ok()) {
    return done(checked);
  }
  const std::string& prefix_id = message.prefix_id;
  const CheckedCall checked = {.message = std::move(message),
                               .call = call,
                               .begin = begin,
                               .params = *std::move(params)};
  if (prefix_id.empty()) {
    return done(MakeRequests(checked, /*prefix=*/nullptr, context));
  }
  context.prefixes.Find(prefix_id, [checked, &context, done = std::move(done)](
                                       absl::StatusOr<SharedPrefix> found) {
    context.tokenization.Run(
        [checked, &context, done, found = std::move(found)] {
          if (found.ok()) return done(MakeRequests(checked, *found, context));
          if (!absl::IsUnavailable(found.status())) {
            context.observer.OnPrefixRefused();
          }
          done(found.status());
        });
  });
}

FailureKind AdmissionFailureKind(const absl::Status& status) {
  return absl::IsUnavailable(status) ? FailureKind::kShuttingDown
                                     : FailureKind::kConcurrencyLimit;
}

FailureKind PreparationFailureKind(const absl::Status& status) {
  return absl::IsUnavailable(status) ? FailureKind::kShuttingDown
                                     : FailureKind::kValidation;
}

FailureKind SubmitFailureKind(const absl::Status& status) {
  return absl::IsResourceExhausted(status) ? FailureKind::kQueueFull
                                           : FailureKind::kGenerate;
}

FailureKind GenerationFailureKind(const absl::Status& status) {
  return absl::IsCancelled(status) || absl::IsDeadlineExceeded(status)
             ? FailureKind::kCancelled
             : FailureKind::kGenerate;
}

}  // namespace drover
