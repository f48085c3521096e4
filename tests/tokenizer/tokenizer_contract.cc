#include "tests/tokenizer/tokenizer_contract.h"

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/strings.h"
#include "model/tokenizer/utf8_assembler.h"

namespace drover {

absl::Status CheckEncoding(const Tokenizer& tokenizer, std::string_view text) {
  const auto encoding = tokenizer.Encode(text, /*with_offsets=*/true);
  const auto plain = tokenizer.Encode(text, /*with_offsets=*/false);
  if (encoding.ok() != plain.ok()) {
    return absl::InternalError("offsets decide whether a text can be encoded");
  }
  // That a model cannot encode a text is its own affair.
  if (!encoding.ok()) return absl::OkStatus();
  if (encoding->ids != plain->ids || !plain->offsets.empty()) {
    return absl::InternalError("without offsets, the ids are other ones");
  }
  if (encoding->ids.size() != encoding->offsets.size()) {
    return absl::InternalError(StrCat(encoding->ids.size(), " ids but ",
                                      encoding->offsets.size(), " offsets"));
  }
  for (const ByteRange& range : encoding->offsets) {
    if (range.begin > range.end || range.end > text.size()) {
      return absl::InternalError(StrCat("the range (", range.begin, ",",
                                        range.end, ") of ", text.size(),
                                        " bytes"));
    }
  }
  for (const int32_t id : encoding->ids) {
    if (tokenizer.Piece(id).empty()) {
      return absl::InternalError(StrCat("id ", id, " without a piece"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckVocabulary(const Tokenizer& tokenizer) {
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string piece = tokenizer.Piece(id);
    if (!IsValidUtf8(piece)) {
      return absl::InternalError(StrCat("the piece of ", id, " is not UTF-8"));
    }
    const bool is_silent = tokenizer.IsSpecial(id) || piece.empty();
    if (tokenizer.Bytes(id).empty() != is_silent) {
      return absl::InternalError(StrCat("the bytes of id ", id));
    }
  }
  for (const int32_t id : {-1, tokenizer.vocab_size()}) {
    if (!tokenizer.Piece(id).empty() || !tokenizer.Bytes(id).empty() ||
        tokenizer.IsSpecial(id)) {
      return absl::InternalError(StrCat("id ", id, " is known"));
    }
  }
  const auto bos_id = tokenizer.bos_id();
  if (bos_id && (*bos_id < 0 || *bos_id >= tokenizer.vocab_size())) {
    return absl::InternalError(StrCat("BOS is ", *bos_id));
  }
  return absl::OkStatus();
}

}  // namespace drover
