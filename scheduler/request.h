#pragma once

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "scheduler/batch_plan.h"
#include "scheduler/prompt_prefix.h"
#include "scheduler/sampling_params.h"

namespace drover {

using RequestId = uint64_t;

// One input to be continued. Plain data; the instants are those of the engine's
// clock.
struct Request {
  SharedPrefix prefix;              // in front of the prompt; null: none
  std::vector<int32_t> prompt_ids;  // at least one
  SamplingParams sampling;
  // At least 1; prefix, prompt and this fit the context.
  int32_t max_new_tokens = 1;
  absl::Time arrival = absl::InfinitePast();
  // Past it the request ends with what it has (EndCause::kTimeLimit).
  absl::Time time_limit = absl::InfiniteFuture();
  // Past it nobody waits any more: a queued request is dropped.
  absl::Time client_deadline = absl::InfiniteFuture();
};

// ---- What a request's owner is told, in this order ----

// It left the queue and is part of a plan. At most once.
struct RequestScheduled {
  absl::Time now;
};

// Scores of prompt tokens 1, 2, …, in slices, before the first token. A prefix
// counts: its positions come first, as the model's pad token.
struct RequestPromptScores {
  std::vector<TokenScore> scores;
};

// One generated token, with what the engine knows. Whoever assembles the text
// decides from it why the request stops.
struct RequestToken {
  TokenScore score;
  bool is_eos = false;
  bool is_last_allowed = false;  // number max_new_tokens
  bool time_over = false;        // past the time limit when it arrived
};

enum class EndCause {
  kEos,
  kMaxTokens,
  kTimeLimit,
  kStopped,       // Engine::Stop: the owner found a stop sequence
  kCancelled,     // Engine::Cancel, or the client's deadline while queued
  kFailed,        // a fault of this request's; status says why
  kEngineFailed,  // every request's: the executor or the engine ends; likewise
};

// Always the last, always exactly once.
struct RequestEnded {
  EndCause cause = EndCause::kFailed;
  absl::Status status;  // OK but for the last three causes
};

using RequestEvent = std::variant<RequestScheduled, RequestPromptScores,
                                  RequestToken, RequestEnded>;

// Receives one request's events on the engine's thread. Must not block: hand
// the event to another thread and return.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  virtual void OnEvent(RequestEvent event) = 0;
};

}  // namespace drover
