#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace drover {

// INVALID_ARGUMENT for a text that no tokenizer takes: one that is not UTF-8,
// or of more bytes than libraries count.
absl::Status CheckText(std::string_view text);

}  // namespace drover
