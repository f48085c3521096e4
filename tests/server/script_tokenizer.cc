#include "tests/server/script_tokenizer.h"

#include "absl/strings/str_format.h"
#include "model/tokenizer/utf8_assembler.h"

namespace drover::testing {

ScriptTokenizer::ScriptTokenizer(std::vector<std::string> pieces, bool has_bos)
    : bytes_(4), has_bos_(has_bos) {
  for (int byte = 0; byte < 256; ++byte) {
    bytes_.push_back(std::string(1, static_cast<char>(byte)));
  }
  bytes_.insert(bytes_.end(), pieces.begin(), pieces.end());
}

absl::StatusOr<Encoding> ScriptTokenizer::Encode(std::string_view text,
                                                 bool with_offsets) const {
  if (text.find('!') != text.npos) {
    return absl::InternalError("no token for '!'");
  }
  Encoding encoding;
  if (has_bos_) {
    encoding.ids.push_back(kBos);
    if (with_offsets) encoding.offsets.push_back({});
  }
  for (uint32_t i = 0; i < text.size(); ++i) {
    encoding.ids.push_back(ByteId(text[i]));
    if (with_offsets) encoding.offsets.push_back({.begin = i, .end = i + 1});
  }
  return encoding;
}

std::string ScriptTokenizer::Piece(int32_t id) const {
  switch (id) {
    case kBos:
      return "<s>";
    case kEos:
      return "</s>";
    case kControl:
      return "<ctl>";
    default:
      break;
  }
  const std::string_view bytes = Bytes(id);
  // A piece is text, so what is less than a character shows as a byte.
  return IsValidUtf8(bytes) ? std::string(bytes)
                            : absl::StrFormat("<0x%02X>", id - ByteId('\0'));
}

std::string_view ScriptTokenizer::Bytes(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return "";
  return bytes_[id];
}

std::optional<int32_t> ScriptTokenizer::bos_id() const {
  if (!has_bos_) return std::nullopt;
  return kBos;
}

}  // namespace drover::testing
