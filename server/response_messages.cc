#include "server/response_messages.h"

#include <string>
#include <utility>

namespace drover {

void AppendMessage(const fmaas::GenerationResponse& message,
                   fmaas::GenerationResponse& response) {
  // Merging does everything but for the text, which it would replace.
  std::string text = std::move(*response.mutable_text());
  text += message.text();
  response.MergeFrom(message);
  *response.mutable_text() = std::move(text);
}

}  // namespace drover
