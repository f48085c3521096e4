#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace drover {

// A pattern of a tokenizer.json (Oniguruma with Ruby's syntax) as PCRE2 has to
// spell it for the same matches: `\s` becomes `\p{White_Space}`, `\d`
// `\p{Nd}`. What the two read differently, or might, is refused by name:
// anchors, `\w`, `\h`, nested classes, scripts, `{1,3}+`, ...
absl::StatusOr<std::string> ToPcre2(std::string_view pattern);

}  // namespace drover
