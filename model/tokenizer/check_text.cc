#include "model/tokenizer/check_text.h"

#include <cstddef>

#include "base/strings.h"
#include "model/tokenizer/utf8_assembler.h"

namespace drover {
namespace {

// They count in 32 bits, and normalisation makes texts longer.
constexpr size_t kMaxTextBytes = size_t{1} << 28;

}  // namespace

absl::Status CheckText(std::string_view text) {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(
        StrCat("a text of ", text.size(), " bytes, at most ", kMaxTextBytes));
  }
  if (!IsValidUtf8(text)) {
    return absl::InvalidArgumentError("the text is not UTF-8");
  }
  return absl::OkStatus();
}

}  // namespace drover
