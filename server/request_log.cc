#include "server/request_log.h"

#include <cmath>

namespace drover {
namespace {

// Milliseconds to a hundredth.
double Millis(absl::Duration duration) {
  return std::round(absl::ToDoubleMilliseconds(duration) * 100) / 100;
}

// -1 for what never happened.
double MillisOrNever(absl::Duration duration) {
  return duration == absl::InfiniteDuration() ? -1 : Millis(duration);
}

}  // namespace

void RequestLog::OnFinished(const FinishedRequest& finished) {
  logger_.Info("request finished",
               {{"request_id", finished.request_id},
                {"kind", CallKindName(finished.call)},
                {"correlation_id", finished.correlation_id},
                {"stop_reason", fmaas::StopReason_Name(finished.stop_reason)},
                {"sampled", finished.sampled},
                {"seed", finished.seed},
                {"input_tokens", finished.input_token_count},
                {"generated_tokens", finished.generated_token_count},
                {"validation_ms", Millis(finished.validation_time)},
                {"queue_ms", Millis(finished.queue_time)},
                {"first_token_ms", MillisOrNever(finished.time_to_first_token)},
                {"inference_ms", Millis(finished.inference_time)},
                {"total_ms", Millis(finished.total_time)}});
}

void RequestLog::OnUncounted(const UncountedCall& call) {
  const std::string code = absl::StatusCodeToString(call.status.code());
  const std::string cause(call.status.message());
  logger_.Info("request without input",
               {{"kind", CallKindName(call.call)},
                {"correlation_id", call.correlation_id},
                {"code", code},
                {"cause", cause}});
}

void RequestLog::OnNotParsed(const NotParsedCall& call) {
  const std::string code = absl::StatusCodeToString(call.status.code());
  const std::string cause(call.status.message());
  logger_.Info("request not parsed", {{"correlation_id", call.correlation_id},
                                      {"code", code},
                                      {"cause", cause}});
}

void RequestLog::OnFailed(const FailedRequest& failed) {
  // Also told as a finished request, whose line says TIME_LIMIT.
  if (failed.kind == FailureKind::kTimeout) return;
  const std::string code = absl::StatusCodeToString(failed.status.code());
  const std::string cause(failed.status.message());
  const std::initializer_list<LogField> fields = {
      {"kind", CallKindName(failed.call)},
      {"correlation_id", failed.correlation_id},
      {"failure", FailureKindName(failed.kind)},
      {"code", code},
      {"cause", cause},
      {"num_failures", failed.num_failures}};
  if (failed.kind == FailureKind::kGenerate) {
    logger_.Error("request failed", fields);
  } else {
    logger_.Info("request failed", fields);
  }
}

}  // namespace drover
