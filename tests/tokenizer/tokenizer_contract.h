#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "model/tokenizer/tokenizer.h"

namespace drover {

// What tokenizer.h promises of any tokenizer, tried with `text` (UTF-8) and
// with every id; INTERNAL says what does not hold. For tests that load what is
// not a sensible model.
absl::Status CheckEncoding(const Tokenizer& tokenizer, std::string_view text);
absl::Status CheckVocabulary(const Tokenizer& tokenizer);

}  // namespace drover
