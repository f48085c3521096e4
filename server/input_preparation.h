#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer.h"
#include "server/parameters.h"
#include "server/service_options.h"

namespace drover {

// Keeps the last `max_tokens` of `ids` (0: all of them). A BOS in front would
// be cut off by this, so it then takes the first of the places kept.
void TruncateLeft(int32_t max_tokens, std::optional<int32_t> bos_id,
                  std::vector<int32_t>& ids);

// One input, ready for the engine.
struct PreparedInput {
  std::vector<int32_t> prompt_ids;  // after truncation, at least one
  int32_t max_new_tokens = 0;       // what fits into the context
  // The context made max_new_tokens smaller than was asked for.
  bool cut_by_context = false;
};

// What `text` encodes to before truncation. Rule 13: INVALID_ARGUMENT.
absl::StatusOr<std::vector<int32_t>> EncodePrompt(std::string_view text,
                                                  const Tokenizer& tokenizer);

// Truncates, applies rules 14 and 15, and fits max_new_tokens into the context,
// behind a prefix of this length.
absl::StatusOr<PreparedInput> PrepareInput(std::vector<int32_t> prompt_ids,
                                           std::optional<int32_t> bos_id,
                                           int32_t num_prefix_tokens,
                                           const GenerationParameters& params,
                                           const ServiceOptions& options);

}  // namespace drover
