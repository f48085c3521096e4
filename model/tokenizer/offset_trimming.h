#pragma once

#include <string_view>

#include "model/tokenizer/tokenizer.h"

namespace drover {

// ByteLevel's trim_offsets: takes the white space at the ends of `piece` ("Ġ",
// or what Unicode calls so) off its range, as much as the range has.
// keeps_one: one alone in front stays, because ByteLevel may have put it there.
void TrimByteLevel(std::string_view piece, bool keeps_one, ByteRange& range);

}  // namespace drover
