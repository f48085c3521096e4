#pragma once

#include <string>
#include <string_view>

namespace drover {

// Turns a stream of bytes into a stream of whole UTF-8 characters: bytes wait
// until they form complete characters, maximal invalid parts become U+FFFD (as
// the Unicode standard recommends), and an incomplete tail is never shown. One
// thread at a time.
class Utf8Assembler {
 public:
  // The characters that `bytes` completes.
  std::string Push(std::string_view bytes);

  // Bytes held back: at most 3.
  std::string_view pending() const { return pending_; }

 private:
  std::string pending_;
};

// Whether a byte of UTF-8 goes on with a character instead of beginning one.
constexpr bool IsContinuationByte(char byte) { return (byte & 0xC0) == 0x80; }

// True if `text` is well-formed UTF-8.
bool IsValidUtf8(std::string_view text);

}  // namespace drover
