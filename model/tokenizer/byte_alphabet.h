#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace drover {

// How byte-level vocabularies write bytes: each has a character of its own.
// Printable characters of Latin-1 stand for themselves, the other 68 bytes are
// U+0100 and on, in order: "Ġ" is a space, "Ċ" a line feed.

std::string CharacterOfByte(uint8_t byte);

// What a piece of the vocabulary stands for; nothing if it has a character that
// is no byte's. `piece` is UTF-8.
std::optional<std::string> BytesOfPiece(std::string_view piece);

// Whether a byte can be part of a UTF-8 text.
constexpr bool OccursInUtf8(uint8_t byte) {
  return byte < 0xC0 || (byte >= 0xC2 && byte <= 0xF4);
}

}  // namespace drover
