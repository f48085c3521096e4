#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "proto/generation.pb.h"

namespace drover {

enum class CallKind {
  kSingle,  // Generate with exactly one input
  kBatch,   // Generate with none, or with several
  kStream,
};

// Why a call, or one of its inputs, came to nothing.
enum class FailureKind {
  kConcurrencyLimit,  // no permit
  kQueueFull,
  kValidation,
  kGenerate,      // the engine failed, or is gone
  kCancelled,     // the client went away
  kTimeout,       // the time limit passed in the queue; also OnFinished
  kShuttingDown,  // new calls are not taken any more
  kSlowReader,    // the stream's bound of unsent bytes was reached
};

// One input that passed validation.
struct ValidatedInput {
  int32_t input_token_count = 0;  // after truncation
  int32_t max_new_tokens = 0;     // before it was fitted into the context
};

struct FailedRequest {
  FailureKind kind = FailureKind::kGenerate;
  CallKind call = CallKind::kSingle;
  // What the failure is counted in: inputs for kCancelled and kTimeout, else
  // one, the call.
  int num_failures = 1;
  absl::Status status;  // what the client is told; OK for kTimeout
  std::string correlation_id;
};

// A call that was answered at once and counts as neither finished nor failed: a
// batch without inputs (OK), a stream without request.
struct UncountedCall {
  CallKind call = CallKind::kBatch;
  absl::Status status;  // what the client is told
  std::string correlation_id;
};

// One input whose text is complete. Durations are of the monotonic clock.
struct FinishedRequest {
  CallKind call = CallKind::kSingle;
  uint64_t request_id = 0;     // the engine's; unique in this process
  std::string correlation_id;  // x-correlation-id, empty without
  fmaas::StopReason stop_reason = fmaas::NOT_FINISHED;
  bool sampled = false;
  uint64_t seed = 0;
  int32_t input_token_count = 0;
  int32_t generated_token_count = 0;
  absl::Duration validation_time;
  absl::Duration queue_time;  // validated to part of a plan
  absl::Duration time_to_first_token = absl::InfiniteDuration();  // or never
  std::vector<absl::Duration> inter_token_times;  // one less than tokens
  absl::Duration inference_time;                  // part of a plan to the end
  absl::Duration total_time;                      // arrival to the end
};

// A call of any method whose message is not what the method takes.
struct NotParsedCall {
  absl::Status status;  // what the client is told; names the message expected
  std::string correlation_id;
};

struct TokenizedCall {
  int num_inputs = 0;
  std::vector<int32_t> token_counts;  // one per input
  absl::Duration duration;
};

// Is told what happens to calls: metrics and the request log line are made from
// it. Methods are called from any thread, also at once, and must not block.
// Never carries a text of a prompt or an output.
class RequestObserver {
 public:
  virtual ~RequestObserver() = default;

  // A Generate or GenerateStream call has come in, with this many inputs.
  virtual void OnCall(CallKind kind, int num_inputs) = 0;

  // A prefix_id stands for nothing that could be loaded (rule 12).
  virtual void OnPrefixRefused() = 0;

  // An input was encoded; its tokens before truncation. Also when a later rule
  // refuses it.
  virtual void OnEncoded(int32_t raw_input_token_count) = 0;

  // A call passed validation, which took this long.
  virtual void OnValidated(const std::vector<ValidatedInput>& inputs,
                           absl::Duration duration) = 0;

  virtual void OnFailed(const FailedRequest& failed) = 0;
  virtual void OnFinished(const FinishedRequest& finished) = 0;
  virtual void OnUncounted(const UncountedCall& call) = 0;
  // Nothing else is told of such a call.
  virtual void OnNotParsed(const NotParsedCall& call) = 0;

  // A Tokenize call has come in, and has been answered.
  virtual void OnTokenizeCall(int num_inputs) = 0;
  virtual void OnTokenized(const TokenizedCall& call) = 0;
};

// "single", "batch", "stream": the metrics' label.
constexpr std::string_view CallKindName(CallKind kind) {
  switch (kind) {
    case CallKind::kSingle:
      return "single";
    case CallKind::kBatch:
      return "batch";
    case CallKind::kStream:
      return "stream";
  }
  return "unknown";
}

// The metrics' label `err`: TGIS's names, and two of ours.
constexpr std::string_view FailureKindName(FailureKind kind) {
  switch (kind) {
    case FailureKind::kConcurrencyLimit:
      return "conc_limit";
    case FailureKind::kQueueFull:
      return "queue_full";
    case FailureKind::kValidation:
      return "validation";
    case FailureKind::kGenerate:
      return "generate";
    case FailureKind::kCancelled:
      return "cancelled";
    case FailureKind::kTimeout:
      return "timeout";
    case FailureKind::kShuttingDown:
      return "shutting_down";
    case FailureKind::kSlowReader:
      return "slow_reader";
  }
  return "unknown";
}

}  // namespace drover
