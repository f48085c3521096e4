#include "server/text_assembly.h"

#include <algorithm>
#include <utility>

namespace drover {

TextAssembler::TextAssembler(Options options) : options_(std::move(options)) {
  for (const std::string& stop : options_.stop_sequences) {
    max_stop_bytes_ = std::max(max_stop_bytes_, stop.size());
  }
}

TextAssembler::Increment TextAssembler::Push(const Token& token) {
  ++num_tokens_;
  const size_t num_old = pending_.size();
  pending_ += characters_.Push(token.bytes);

  Increment increment;
  increment.stop_reason = ReasonBeforeStopSequences(token);
  if (increment.stop_reason != fmaas::NOT_FINISHED) {
    increment.text = Show(pending_.size());
    return increment;
  }
  if (num_tokens_ >= options_.min_new_tokens) {
    const Match match = FindMatch(num_old);
    if (match.stop_sequence != nullptr) {
      increment.stop_reason = fmaas::STOP_SEQUENCE;
      increment.stop_sequence = *match.stop_sequence;
      increment.text =
          Show(options_.include_stop_sequence ? match.end : match.begin);
      return increment;
    }
    if (token.is_last_allowed) {
      increment.stop_reason = options_.last_token_reason;
      increment.text = Show(pending_.size());
      return increment;
    }
  }
  const size_t num_settled = pending_.size() - NumPossibleStopBytes();
  increment.text =
      Show(options_.include_stop_sequence ? pending_.size() : num_settled);
  pending_.erase(0, num_settled);
  num_shown_ -= std::min(num_shown_, num_settled);
  return increment;
}

std::string TextAssembler::Finish() { return Show(pending_.size()); }

fmaas::StopReason TextAssembler::ReasonBeforeStopSequences(
    const Token& token) const {
  if (token.time_over) return fmaas::TIME_LIMIT;
  if (num_tokens_ < options_.min_new_tokens) return fmaas::NOT_FINISHED;
  return token.is_eos ? fmaas::EOS_TOKEN : fmaas::NOT_FINISHED;
}

TextAssembler::Match TextAssembler::FindMatch(size_t num_old) const {
  Match first;
  for (const std::string& stop : options_.stop_sequences) {
    // The first place at which it would end beyond the old bytes.
    const size_t from = num_old + 1 - std::min(num_old + 1, stop.size());
    const size_t begin = pending_.find(stop, from);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stop.size();
    if (first.stop_sequence == nullptr || end < first.end) {
      first = {.begin = begin, .end = end, .stop_sequence = &stop};
    }
  }
  return first;
}

size_t TextAssembler::NumPossibleStopBytes() const {
  if (max_stop_bytes_ == 0) return 0;
  const std::string_view text = pending_;
  for (size_t size = std::min(max_stop_bytes_ - 1, text.size()); size > 0;
       --size) {
    const std::string_view suffix = text.substr(text.size() - size);
    for (const std::string& stop : options_.stop_sequences) {
      if (stop.size() > size && stop.starts_with(suffix)) return size;
    }
  }
  return 0;
}

std::string TextAssembler::Show(size_t end) {
  if (end <= num_shown_) return "";
  std::string text = pending_.substr(num_shown_, end - num_shown_);
  num_shown_ = end;
  return text;
}

}  // namespace drover
