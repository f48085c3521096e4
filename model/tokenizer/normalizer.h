#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace drover {

// Unicode's Normalization Form C as Hugging Face's tokenizers know it, which is
// that of Unicode 9.0: characters that are newer stay as and where they are.

// A normalised text, and where its characters were.
struct NormalizedText {
  std::string text;
  // By byte of `text`: the character of the original that it came from. Of
  // several that were composed the first one counts, as in Hugging Face's
  // tokenizers: "e" and U+0301 give an é that came from (0,1).
  std::vector<ByteRange> origins;
};

// True only if normalising changes nothing, which is quick to see of most
// texts. `text` is UTF-8, as below.
bool IsSurelyNfc(std::string_view text);

// O(n log n).
NormalizedText ToNfc(std::string_view text);

}  // namespace drover
