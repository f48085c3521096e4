#include "model/tokenizer/utf8_assembler.h"

#include <cstddef>
#include <cstdint>

namespace drover {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// What may follow a lead byte: how many bytes in all, and the range of the
// second one (the others are always 80..BF). Table 3-7 of the Unicode standard.
struct Lead {
  uint8_t length;  // 0: begins no character
  uint8_t second_min;
  uint8_t second_max;
};

constexpr Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {1, 0x80, 0xBF};
  if (byte < 0xC2) return {0, 0, 0};  // continuations, overlong forms
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};  // no overlong forms
  if (byte == 0xED) return {3, 0x80, 0x9F};  // no surrogates
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};  // no overlong forms
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};  // nothing beyond U+10FFFF
  return {0, 0, 0};
}

struct Part {
  enum class Kind { kCharacter, kInvalid, kIncomplete };

  Kind kind;
  size_t size;
};

// The character that `bytes` (not empty) begins with; or the longest part that
// could have begun one and did not; or all of it, if more could complete it.
Part FirstPart(std::string_view bytes) {
  const Lead lead = LeadOf(static_cast<uint8_t>(bytes[0]));
  if (lead.length == 0) return {Part::Kind::kInvalid, 1};
  for (size_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {Part::Kind::kIncomplete, i};
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const uint8_t min = i == 1 ? lead.second_min : 0x80;
    const uint8_t max = i == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) return {Part::Kind::kInvalid, i};
  }
  return {Part::Kind::kCharacter, lead.length};
}

}  // namespace

std::string Utf8Assembler::Push(std::string_view bytes) {
  pending_ += bytes;
  std::string_view rest = pending_;
  std::string characters;
  while (!rest.empty()) {
    const Part part = FirstPart(rest);
    if (part.kind == Part::Kind::kIncomplete) break;
    characters += part.kind == Part::Kind::kCharacter
                      ? rest.substr(0, part.size)
                      : kReplacement;
    rest.remove_prefix(part.size);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return characters;
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    const Part part = FirstPart(text);
    if (part.kind != Part::Kind::kCharacter) return false;
    text.remove_prefix(part.size);
  }
  return true;
}

}  // namespace drover
