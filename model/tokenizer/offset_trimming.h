#pragma once

#include <string_view>

#include "model/tokenizer/tokenizer.h"

namespace drover {

// ByteLevel's trim_offsets: takes the white space at the ends of `piece` ("Ġ",
// or what Unicode calls so) off its range, as much as the range has.
// keeps_first_space: one that begins the text stays (`add_prefix_space`).
void TrimByteLevel(std::string_view piece, bool keeps_first_space,
                   ByteRange& range);

}  // namespace drover
