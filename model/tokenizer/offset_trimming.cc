#include "model/tokenizer/offset_trimming.h"

#include <algorithm>
#include <cstdint>

#include "model/tokenizer/code_points.h"

namespace drover {
namespace {

constexpr int32_t kSpace = 0x120;  // "Ġ", the byte 0x20

// Bytes of the text that a character of `size` bytes takes if it is white
// space, else 0.
uint32_t SpaceBytes(int32_t code_point, size_t size) {
  if (code_point == kSpace) return 1;
  return IsWhiteSpace(code_point) ? static_cast<uint32_t>(size) : 0;
}

uint32_t LeadingSpaceBytes(std::string_view piece, bool keeps_one) {
  uint32_t bytes = 0;
  int num_spaces = 0;
  for (size_t i = 0; i < piece.size(); ++num_spaces) {
    const size_t begin = i;
    const int32_t code_point = NextCodePoint(piece, i);
    const uint32_t space = SpaceBytes(code_point, i - begin);
    if (space == 0) break;
    bytes += space;
  }
  return keeps_one && num_spaces == 1 ? 0 : bytes;
}

uint32_t TrailingSpaceBytes(std::string_view piece) {
  uint32_t bytes = 0;
  for (size_t i = piece.size(); i > 0;) {
    const size_t end = i;
    const int32_t code_point = PreviousCodePoint(piece, i);
    const uint32_t space = SpaceBytes(code_point, end - i);
    if (space == 0) break;
    bytes += space;
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
