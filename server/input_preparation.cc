#include "server/input_preparation.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace drover {

void TruncateLeft(int32_t max_tokens, std::optional<int32_t> bos_id,
                  std::vector<int32_t>& ids) {
  if (max_tokens == 0 || ids.size() <= static_cast<size_t>(max_tokens)) return;
  ids.erase(ids.begin(), ids.end() - max_tokens);
  if (bos_id.has_value()) ids.front() = *bos_id;
}

absl::StatusOr<std::vector<int32_t>> EncodePrompt(std::string_view text,
                                                  const Tokenizer& tokenizer) {
  absl::StatusOr<Encoding> encoding =
      tokenizer.Encode(text, /*with_offsets=*/false);
  if (!encoding.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer error ", encoding.status().message()));
  }
  if (encoding->ids.empty()) {
    return absl::InvalidArgumentError(
        "tokenizer error an empty text gives this model no token to start "
        "from");
  }
  return std::move(encoding->ids);
}

absl::StatusOr<PreparedInput> PrepareInput(std::vector<int32_t> prompt_ids,
                                           std::optional<int32_t> bos_id,
                                           int32_t num_prefix_tokens,
                                           const GenerationParameters& params,
                                           const ServiceOptions& options) {
  TruncateLeft(params.truncate_input_tokens, bos_id, prompt_ids);
  const auto num_input = static_cast<int64_t>(prompt_ids.size());
  const int64_t max_length = options.max_sequence_length;
  const int64_t min_new_tokens = params.sampling.min_new_tokens;
  const int64_t room = max_length - num_input - num_prefix_tokens;
  const std::string lengths = absl::StrCat(
      "input tokens (", num_input, ") plus prefix length (", num_prefix_tokens);
  if (room <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(lengths, ") must be < ", max_length));
  }
  if (min_new_tokens > room) {
    return absl::InvalidArgumentError(
        absl::StrCat(lengths, ") plus min_new_tokens (", min_new_tokens,
                     ") must be <= ", max_length));
  }
  return PreparedInput{.prompt_ids = std::move(prompt_ids),
                       .max_new_tokens = static_cast<int32_t>(
                           std::min<int64_t>(params.max_new_tokens, room)),
                       .cut_by_context = params.max_new_tokens > room};
}

}  // namespace drover
