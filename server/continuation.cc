#include "server/continuation.h"

#include <iterator>
#include <utility>
#include <variant>

#include "server/status_conversion.h"
#include "server/token_info.h"

namespace drover {

Continuation::Continuation(Options options, const Tokenizer& tokenizer,
                           RequestObserver& observer, const Clock& clock,
                           std::shared_ptr<ContinuationListener> listener)
    : options_(std::move(options)),
      tokenizer_(tokenizer),
      observer_(observer),
      clock_(clock),
      listener_(std::move(listener)),
      assembler_(options_.text) {}

bool Continuation::OnEvent(RequestEvent event) {
  // Tokens that were on their way when the text became complete are surplus.
  if (finished_) return false;
  std::visit([this](auto&& e) { On(std::move(e)); }, std::move(event));
  return found_stop_sequence_;
}

void Continuation::On(const RequestScheduled& scheduled) {
  scheduled_time_ = scheduled.now;
}

void Continuation::On(RequestPromptScores scores) {
  prompt_scores_.insert(prompt_scores_.end(),
                        std::make_move_iterator(scores.scores.begin()),
                        std::make_move_iterator(scores.scores.end()));
}

void Continuation::On(const RequestToken& token) {
  const bool is_first = assembler_.num_tokens() == 0;
  if (is_first && options_.details.input_tokens) {
    listener_->OnMessage(InputTokensMessage(), /*is_last=*/false);
  }
  NoteTokenTime();
  TextAssembler::Increment increment =
      assembler_.Push({.bytes = token.is_eos ? "" : TextOf(token.score.id),
                       .is_eos = token.is_eos,
                       .is_last_allowed = token.is_last_allowed,
                       .time_over = token.time_over});

  fmaas::GenerationResponse message;
  message.set_generated_token_count(assembler_.num_tokens());
  message.set_text(std::move(increment.text));
  if (options_.details.generated_tokens) {
    *message.add_tokens() =
        MakeTokenInfo(token.score, options_.details, tokenizer_);
  }
  if (increment.stop_reason != fmaas::NOT_FINISHED) {
    found_stop_sequence_ = increment.stop_reason == fmaas::STOP_SEQUENCE;
    message.set_stop_reason(increment.stop_reason);
    message.set_stop_sequence(std::move(increment.stop_sequence));
    Finish(std::move(message));
  } else if (!message.text().empty() || message.tokens_size() > 0) {
    listener_->OnMessage(std::move(message), /*is_last=*/false);
  }
}

void Continuation::On(const RequestEnded& ended) {
  if (ended.status.ok()) return EndWithoutToken(ended.cause);
  finished_ = true;
  // How far this request had come is no part of a fault that ends them all.
  const bool is_its_own = ended.cause == EndCause::kFailed;
  listener_->OnFailed(GenerationFailure(
      ended.status, is_its_own ? assembler_.num_tokens() : 0));
}

std::string_view Continuation::TextOf(int32_t id) {
  if (!options_.output_special_tokens || !tokenizer_.IsSpecial(id)) {
    return tokenizer_.Bytes(id);
  }
  special_text_ = tokenizer_.Piece(id);
  return special_text_;
}

fmaas::GenerationResponse Continuation::InputTokensMessage() {
  std::vector<int32_t> ids(static_cast<size_t>(options_.num_prefix_tokens),
                           options_.pad_id);
  ids.insert(ids.end(), options_.prompt_ids.begin(), options_.prompt_ids.end());
  // Without scores the engine sends none, and the ids are all there is to say.
  prompt_scores_.resize(ids.size() - 1);
  fmaas::GenerationResponse message;
  message.set_input_token_count(static_cast<uint32_t>(ids.size()));
  *message.add_input_tokens() =
      MakeFirstInputTokenInfo(ids.front(), options_.details, tokenizer_);
  for (size_t i = 1; i < ids.size(); ++i) {
    TokenScore& score = prompt_scores_[i - 1];
    score.id = ids[i];
    *message.add_input_tokens() =
        MakeTokenInfo(score, options_.details, tokenizer_);
  }
  prompt_scores_ = {};
  return message;
}

void Continuation::NoteTokenTime() {
  const absl::Time now = clock_.Now();
  if (first_token_time_.has_value()) {
    inter_token_times_.push_back(now - last_token_time_);
  } else {
    first_token_time_ = now;
  }
  last_token_time_ = now;
}

void Continuation::EndWithoutToken(EndCause cause) {
  fmaas::GenerationResponse message;
  message.set_generated_token_count(assembler_.num_tokens());
  message.set_text(assembler_.Finish());
  switch (cause) {
    case EndCause::kEos:
      message.set_stop_reason(fmaas::EOS_TOKEN);
      break;
    case EndCause::kTimeLimit:
      message.set_stop_reason(fmaas::TIME_LIMIT);
      break;
    default:
      message.set_stop_reason(options_.text.last_token_reason);
      break;
  }
  if (cause == EndCause::kTimeLimit && !scheduled_time_.has_value()) {
    observer_.OnFailed({.kind = FailureKind::kTimeout,
                        .call = options_.call,
                        .num_failures = 1,
                        .status = absl::OkStatus(),
                        .correlation_id = options_.correlation_id});
  }
  Finish(std::move(message));
}

void Continuation::Finish(fmaas::GenerationResponse message) {
  finished_ = true;
  if (options_.sampled && assembler_.num_tokens() > 0) {
    message.set_seed(options_.seed);
  }
  ReportFinished(message);
  listener_->OnMessage(std::move(message), /*is_last=*/true);
}

void Continuation::ReportFinished(const fmaas::GenerationResponse& last) {
  const absl::Time now = clock_.Now();
  const absl::Time scheduled = scheduled_time_.value_or(now);
  FinishedRequest finished;
  finished.call = options_.call;
  finished.request_id = request_id_;
  finished.correlation_id = options_.correlation_id;
  finished.stop_reason = last.stop_reason();
  finished.sampled = options_.sampled;
  finished.seed = options_.seed;
  finished.input_token_count = static_cast<int32_t>(options_.prompt_ids.size());
  finished.generated_token_count = assembler_.num_tokens();
  finished.validation_time = options_.validation_time;
  finished.queue_time = scheduled - options_.arrival - options_.validation_time;
  if (first_token_time_.has_value()) {
    finished.time_to_first_token = *first_token_time_ - options_.arrival;
  }
  finished.inter_token_times = std::move(inter_token_times_);
  finished.inference_time = now - scheduled;
  finished.total_time = now - options_.arrival;
  observer_.OnFinished(finished);
}

}  // namespace drover
