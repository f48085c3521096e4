#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer.h"

namespace drover {

// Does with what loading an arbitrary file gave everything that a request can
// make a tokenizer do; aborts where tokenizer.h promises something else. A
// refusal has to be one that can be shown. Of `text` only whole characters are
// encoded.
void UseTokenizer(const absl::StatusOr<std::unique_ptr<Tokenizer>>& loaded,
                  std::string_view text);

}  // namespace drover
