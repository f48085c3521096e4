#include "model/tokenizer/code_points.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <cstddef>

namespace drover {

// ICU's own loops, whose macros are written for its 32-bit sizes and plain
// arrays.

int32_t NextCodePoint(std::string_view text, size_t& i) {
  const char* bytes = text.data();
  UChar32 code_point = 0;
  U8_NEXT_UNSAFE(bytes, i, code_point);
  return code_point;
}

int32_t PreviousCodePoint(std::string_view text, size_t& i) {
  const char* bytes = text.data();
  UChar32 code_point = 0;
  U8_PREV_UNSAFE(bytes, i, code_point);
  return code_point;
}

void AppendCodePoint(int32_t code_point, std::string& text) {
  char bytes[U8_MAX_LENGTH] = {};
  size_t size = 0;
  U8_APPEND_UNSAFE(bytes, size, code_point);
  text.append(bytes, size);
}

bool IsWhiteSpace(int32_t code_point) {
  return u_hasBinaryProperty(code_point, UCHAR_WHITE_SPACE) != 0;
}

bool IsOfWord(int32_t code_point) {
  constexpr uint32_t kCategories = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_hasBinaryProperty(code_point, UCHAR_ALPHABETIC) != 0 ||
         u_hasBinaryProperty(code_point, UCHAR_JOIN_CONTROL) != 0 ||
         (U_GET_GC_MASK(code_point) & kCategories) != 0;
}

}  // namespace drover
