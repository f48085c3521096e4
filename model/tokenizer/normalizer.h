#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace drover {

// A text in Unicode's Normalization Form C, and where its characters were.
struct NormalizedText {
  std::string text;
  // By byte of `text`: the character of the original that it came from. Of
  // several that were composed the first one counts, as in Hugging Face's
  // tokenizers: "e" and U+0301 give an é that came from (0,1).
  std::vector<ByteRange> origins;
};

// True if normalising changes nothing. `text` is UTF-8, as below.
bool IsNfc(std::string_view text);

NormalizedText ToNfc(std::string_view text);

}  // namespace drover
