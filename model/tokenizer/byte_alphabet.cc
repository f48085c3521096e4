#include "model/tokenizer/byte_alphabet.h"

#include <array>

namespace drover {
namespace {

constexpr uint32_t kFirstOther = 0x100;
constexpr uint32_t kNumOthers = 68;

constexpr bool StandsForItself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

// The bytes that the characters from U+0100 on stand for.
constexpr std::array<uint8_t, kNumOthers> OtherBytes() {
  std::array<uint8_t, kNumOthers> bytes = {};
  size_t count = 0;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    if (!StandsForItself(byte)) bytes[count++] = static_cast<uint8_t>(byte);
  }
  return bytes;
}

constexpr std::array<uint8_t, kNumOthers> kOtherBytes = OtherBytes();

// UTF-8 of a code point below U+0800.
std::string Encode(uint32_t c) {
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
}

std::optional<char> ByteOf(uint32_t c) {
  if (c < 256 && StandsForItself(c)) return static_cast<char>(c);
  if (c < kFirstOther || c >= kFirstOther + kNumOthers) return std::nullopt;
  return static_cast<char>(kOtherBytes[c - kFirstOther]);
}

}  // namespace

std::string CharacterOfByte(uint8_t byte) {
  if (StandsForItself(byte)) return Encode(byte);
  uint32_t other = 0;
  while (kOtherBytes[other] != byte) ++other;
  return Encode(kFirstOther + other);
}

std::optional<std::string> BytesOfPiece(std::string_view piece) {
  std::string bytes;
  for (size_t i = 0; i < piece.size(); ++i) {
    uint32_t c = static_cast<uint8_t>(piece[i]);
    if (c >= 0xE0) return std::nullopt;  // U+0800 and beyond
    if (c >= 0xC0) {
      if (++i == piece.size()) return std::nullopt;
      c = (c & 0x1F) << 6 | (static_cast<uint8_t>(piece[i]) & 0x3F);
    }
    const std::optional<char> byte = ByteOf(c);
    if (!byte) return std::nullopt;
    bytes += *byte;
  }
  return bytes;
}

}  // namespace drover
