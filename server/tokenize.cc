#include "server/tokenize.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/parameters.h"

namespace drover {
namespace {

absl::Status TokenizerFailure(const absl::Status& status) {
  const std::string text = absl::StrCat("tokenizer error ", status.message());
  return absl::IsInvalidArgument(status) ? absl::InvalidArgumentError(text)
                                         : absl::InternalError(text);
}

}  // namespace

absl::Status TokenizeTexts(const fmaas::BatchedTokenizeRequest& request,
                           const Tokenizer& tokenizer,
                           fmaas::BatchedTokenizeResponse& response) {
  if (request.requests().empty()) return absl::OkStatus();
  DROVER_RETURN_IF_ERROR(CheckNoAdapter(request.adapter_id()));
  for (const fmaas::TokenizeRequest& text : request.requests()) {
    const absl::StatusOr<Encoding> encoding =
        tokenizer.Encode(text.text(), request.return_offsets());
    if (!encoding.ok()) return TokenizerFailure(encoding.status());
    const size_t num_tokens = encoding->ids.size();
    const size_t limit = request.truncate_input_tokens();
    const size_t num_kept =
        limit == 0 ? num_tokens : std::min(num_tokens, limit);

    fmaas::TokenizeResponse& out = *response.add_responses();
    out.set_token_count(static_cast<uint32_t>(num_kept));
    for (size_t i = num_tokens - num_kept; i < num_tokens; ++i) {
      if (request.return_tokens()) {
        out.add_tokens(tokenizer.Piece(encoding->ids[i]));
      }
      if (request.return_offsets()) {
        fmaas::TokenizeResponse::Offset& offset = *out.add_offsets();
        offset.set_start(encoding->offsets[i].begin);
        offset.set_end(encoding->offsets[i].end);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace drover
