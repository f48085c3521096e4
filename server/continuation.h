#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "model/tokenizer/tokenizer.h"
#include "proto/generation.pb.h"
#include "scheduler/request.h"
#include "server/parameters.h"
#include "server/request_observer.h"
#include "server/text_assembly.h"

namespace drover {

// Receives one input's messages as a stream would show them, on an emitter's
// thread; must not wait for a client.
class ContinuationListener {
 public:
  virtual ~ContinuationListener() = default;

  // The prompt's tokens, or what one generated token adds. After the last one
  // nothing follows.
  virtual void OnMessage(fmaas::GenerationResponse message, bool is_last) = 0;

  // Instead of the last message: the status for the client.
  virtual void OnFailed(const absl::Status& status) = 0;
};

// One input on its way from the engine's events to the messages of its stream:
// assembles the text, makes the token records, decides when it is complete, and
// reports it to the observer just before its last message.
// Single-threaded.
class Continuation {
 public:
  struct Options {
    CallKind call = CallKind::kStream;
    std::string correlation_id;
    absl::Time arrival;  // of the call, by the engine's clock
    absl::Duration validation_time;
    // Positions in front of the prompt that have no token, and the id that
    // stands for each in records.
    int32_t num_prefix_tokens = 0;
    int32_t pad_id = 0;
    std::vector<int32_t> prompt_ids;
    bool sampled = false;
    uint64_t seed = 0;
    ResponseDetails details;
    TextAssembler::Options text;
    bool output_special_tokens = false;
  };

  // `tokenizer`, `observer` and `clock` outlive it.
  Continuation(Options options, const Tokenizer& tokenizer,
               RequestObserver& observer, const Clock& clock,
               std::shared_ptr<ContinuationListener> listener);

  // The engine's name for the request; before the first event.
  void set_request_id(RequestId id) { request_id_ = id; }

  // The next event, in the engine's order. True, once, if a stop sequence
  // completed the text: the engine does not know of it.
  [[nodiscard]] bool OnEvent(RequestEvent event);

 private:
  void On(const RequestScheduled& scheduled);
  void On(RequestPromptScores scores);
  void On(const RequestToken& token);
  void On(const RequestEnded& ended);

  std::string_view TextOf(int32_t id);
  fmaas::GenerationResponse InputTokensMessage();
  void NoteTokenTime();
  // Ends it with a reason of the engine's, which came without a token.
  void EndWithoutToken(EndCause cause);
  void Finish(fmaas::GenerationResponse message);
  void ReportFinished(const fmaas::GenerationResponse& last);

  const Options options_;
  const Tokenizer& tokenizer_;
  RequestObserver& observer_;
  const Clock& clock_;
  const std::shared_ptr<ContinuationListener> listener_;
  RequestId request_id_ = 0;

  TextAssembler assembler_;
  std::vector<TokenScore> prompt_scores_;
  std::string special_text_;  // what TextOf returned last
  bool finished_ = false;
  bool found_stop_sequence_ = false;
  std::optional<absl::Time> scheduled_time_;
  std::optional<absl::Time> first_token_time_;
  absl::Time last_token_time_;
  std::vector<absl::Duration> inter_token_times_;
};

}  // namespace drover
