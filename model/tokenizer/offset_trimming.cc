#include "model/tokenizer/offset_trimming.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>

namespace drover {
namespace {

constexpr UChar32 kSpace = 0x120;  // "Ġ", the byte 0x20

// Bytes of the text that a character takes if it is white space, else 0.
uint32_t SpaceBytes(UChar32 c) {
  if (c == kSpace) return 1;
  if (!u_hasBinaryProperty(c, UCHAR_WHITE_SPACE)) return 0;
  return static_cast<uint32_t>(U8_LENGTH(c));
}

uint32_t LeadingSpaceBytes(std::string_view piece, bool keeps_one) {
  const auto size = static_cast<int32_t>(piece.size());
  uint32_t bytes = 0;
  int num_spaces = 0;
  for (int32_t i = 0; i < size; ++num_spaces) {
    UChar32 c;
    U8_NEXT(piece.data(), i, size, c);
    if (SpaceBytes(c) == 0) break;
    bytes += SpaceBytes(c);
  }
  return keeps_one && num_spaces == 1 ? 0 : bytes;
}

uint32_t TrailingSpaceBytes(std::string_view piece) {
  uint32_t bytes = 0;
  for (auto i = static_cast<int32_t>(piece.size()); i > 0;) {
    UChar32 c;
    U8_PREV(piece.data(), 0, i, c);
    if (SpaceBytes(c) == 0) break;
    bytes += SpaceBytes(c);
  }
  return bytes;
}

}  // namespace

void TrimByteLevel(std::string_view piece, bool keeps_one, ByteRange& range) {
  const uint32_t leading = LeadingSpaceBytes(piece, keeps_one);
  range.begin = std::min(range.begin + leading, range.end);
  const uint32_t trailing = TrailingSpaceBytes(piece);
  if (range.end >= trailing) {
    range.end = std::max(range.end - trailing, range.begin);
  }
}

}  // namespace drover
