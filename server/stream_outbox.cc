#include "server/stream_outbox.h"

#include <utility>

#include "base/check.h"
#include "server/response_messages.h"

namespace drover {
namespace {

// The acknowledgement and the prompt's tokens, and only they, count the input.
bool IsOutput(const fmaas::GenerationResponse& message) {
  return message.input_token_count() == 0;
}

bool IsPlainText(const fmaas::GenerationResponse& message) {
  return IsOutput(message) && message.tokens_size() == 0;
}

int64_t NumOutputBytes(const fmaas::GenerationResponse& message) {
  return IsOutput(message) ? static_cast<int64_t>(message.ByteSizeLong()) : 0;
}

}  // namespace

void StreamOutbox::Push(fmaas::GenerationResponse message) {
  if (messages_.empty() || !IsPlainText(message) ||
      !IsPlainText(messages_.back())) {
    num_output_bytes_ += NumOutputBytes(message);
    messages_.push_back(std::move(message));
    return;
  }
  num_output_bytes_ -= NumOutputBytes(messages_.back());
  AppendMessage(message, messages_.back());
  num_output_bytes_ += NumOutputBytes(messages_.back());
}

fmaas::GenerationResponse StreamOutbox::Pop() {
  DROVER_CHECK(!messages_.empty());
  fmaas::GenerationResponse message = std::move(messages_.front());
  messages_.pop_front();
  num_output_bytes_ -= NumOutputBytes(message);
  return message;
}

void StreamOutbox::Clear() {
  messages_.clear();
  num_output_bytes_ = 0;
}

}  // namespace drover
