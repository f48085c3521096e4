#include "model/tokenizer/sentencepiece_tokenizer.h"

#include <charconv>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/tokenizer/charsmap.h"
#include "model/tokenizer/check_text.h"
#include "model/tokenizer/utf8_assembler.h"

namespace drover {
namespace {

using Kind = SentencepieceModel::Kind;
using ModelPiece = SentencepieceModel::Piece;

// "<0x0A>" -> '\n'. The library has checked the form.
char ByteOf(std::string_view piece) {
  unsigned value = 0;
  std::from_chars(piece.data() + 3, piece.data() + piece.size() - 1, value, 16);
  return static_cast<char>(value);
}

std::string BytesOf(const SentencepieceModel& model, int32_t id) {
  const std::string_view piece = model.Text(id);
  switch (model.KindOf(id)) {
    case Kind::kText:
      return absl::StrReplaceAll(ToAbsl(piece), {{"▁", " "}});
    case Kind::kByte:
      return std::string(1, ByteOf(piece));
    case Kind::kControl:
    case Kind::kUnknown:
      return "";
  }
  return "";
}

// The character of `text` (UTF-8) that begins at `begin`; empty at the end.
ByteRange CharacterAt(std::string_view text, uint32_t begin) {
  uint32_t end = begin;
  if (end < text.size()) ++end;
  while (end < text.size() && IsContinuationByte(text[end])) ++end;
  return {begin, end};
}

// The library quotes pieces before anybody has looked whether they are UTF-8.
absl::Status UnusableError(std::string_view why) {
  const std::string escaped = IsValidUtf8(why)
                                  ? absl::Utf8SafeCEscape(ToAbsl(why))
                                  : absl::CHexEscape(ToAbsl(why));
  return absl::InvalidArgumentError(StrCat("not a usable sentencepiece model",
                                           why.empty() ? "" : ": ", escaped));
}

// Before the library sees the model: see charsmap.h.
absl::Status CheckCharsmaps(std::string_view serialized) {
  const auto charsmaps = FindCharsmaps(serialized);
  if (!charsmaps) return UnusableError("malformed protobuf");
  for (const std::string_view charsmap : *charsmaps) {
    if (!IsSoundCharsmap(charsmap)) {
      return UnusableError("precompiled_charsmap is malformed");
    }
  }
  return absl::OkStatus();
}

// The same model without the artificial space at the beginning: the last value
// of a protobuf field counts. ModelProto.normalizer_spec (3) { add_dummy_prefix
// (3): false }.
std::string WithoutDummyPrefix(std::string_view serialized) {
  return StrCat(serialized, std::string("\x1a\x02\x18\x00", 4));
}

// The library takes pieces as they are; the API's strings must be UTF-8.
absl::Status CheckPieces(const SentencepieceModel& model) {
  for (int32_t id = 0; id < model.size(); ++id) {
    if (!IsValidUtf8(model.Text(id))) {
      return UnusableError(StrCat("piece ", id, " is not UTF-8"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencepieceTokenizer::Create(
    std::string_view serialized, Options options) {
  DROVER_RETURN_IF_ERROR(CheckCharsmaps(serialized));
  std::string error;
  std::unique_ptr<SentencepieceModel> model =
      SentencepieceModel::Load(serialized, error);
  if (model == nullptr) return UnusableError(error);
  DROVER_RETURN_IF_ERROR(CheckPieces(*model));
  std::unique_ptr<SentencepieceModel> continuing;
  if (options.finds_added_tokens && !options.prefixes_every_part) {
    continuing =
        SentencepieceModel::Load(WithoutDummyPrefix(serialized), error);
    if (continuing == nullptr) return UnusableError(error);
  }
  return std::unique_ptr<Tokenizer>(new SentencepieceTokenizer(
      std::move(model), std::move(continuing), std::move(options)));
}

std::vector<AddedToken> SentencepieceTokenizer::TokensOf(
    const SentencepieceModel& model, Options options) {
  if (!options.finds_added_tokens) return {};
  std::vector<AddedToken> tokens;
  absl::flat_hash_set<int32_t> known;
  for (AddedToken& token : options.added_tokens) {
    if (token.id >= model.size() || model.Text(token.id) != token.content) {
      continue;
    }
    known.insert(token.id);
    tokens.push_back(std::move(token));
  }
  for (int32_t id = 0; id < model.size(); ++id) {
    const Kind kind = model.KindOf(id);
    const bool is_special = kind == Kind::kControl || kind == Kind::kUnknown;
    if (is_special && !known.contains(id) && !model.Text(id).empty()) {
      tokens.push_back({.id = id, .content = std::string(model.Text(id))});
    }
  }
  return tokens;
}

SentencepieceTokenizer::SentencepieceTokenizer(
    std::unique_ptr<SentencepieceModel> model,
    std::unique_ptr<SentencepieceModel> continuing, Options options)
    : model_(std::move(model)),
      continuing_(std::move(continuing)),
      added_tokens_(TokensOf(*model_, options)) {
  if (options.prepend_bos && model_->bos_id() >= 0) bos_id_ = model_->bos_id();
  const int32_t size = model_->size();
  bytes_.reserve(static_cast<size_t>(size));
  for (int32_t id = 0; id < size; ++id) bytes_.push_back(BytesOf(*model_, id));
}

absl::StatusOr<Encoding> SentencepieceTokenizer::Encode(
    std::string_view text, bool with_offsets) const {
  DROVER_RETURN_IF_ERROR(CheckText(text));
  Encoding encoding;
  if (bos_id_) {
    encoding.ids.push_back(*bos_id_);
    if (with_offsets) encoding.offsets.emplace_back();
  }
  for (const AddedTokenMatcher::Part& part : added_tokens_.Split(text)) {
    if (part.id == AddedTokenMatcher::kNoToken) {
      DROVER_RETURN_IF_ERROR(
          EncodePart(text, part.range, with_offsets, encoding));
      continue;
    }
    encoding.ids.push_back(part.id);
    if (with_offsets) encoding.offsets.push_back(part.range);
  }
  return encoding;
}

absl::Status SentencepieceTokenizer::EncodePart(std::string_view text,
                                                ByteRange range,
                                                bool with_offsets,
                                                Encoding& encoding) const {
  const std::string_view part =
      text.substr(range.begin, range.end - range.begin);
  const bool continues = range.begin > 0 && continuing_ != nullptr;
  const SentencepieceModel& model = continues ? *continuing_ : *model_;
  std::vector<ModelPiece> pieces;
  std::string error;
  if (!model.Encode(part, pieces, error)) {
    return absl::InternalError(StrCat("sentencepiece: ", error));
  }
  for (const ModelPiece& piece : pieces) encoding.ids.push_back(piece.id);
  if (!with_offsets) return absl::OkStatus();
  if (!model.CompleteCharacters(part, pieces, error)) {
    return absl::InternalError(StrCat("sentencepiece: ", error));
  }
  for (const ModelPiece& piece : pieces) {
    ByteRange offset = {piece.begin, piece.end};
    if (offset.begin == offset.end) offset = CharacterAt(part, offset.begin);
    encoding.offsets.push_back(
        {range.begin + offset.begin, range.begin + offset.end});
  }
  return absl::OkStatus();
}

std::string SentencepieceTokenizer::Piece(int32_t id) const {
  return Contains(id) ? std::string(model_->Text(id)) : "";
}

std::string_view SentencepieceTokenizer::Bytes(int32_t id) const {
  return Contains(id) ? bytes_[static_cast<size_t>(id)] : std::string_view();
}

bool SentencepieceTokenizer::IsSpecial(int32_t id) const {
  if (!Contains(id)) return false;
  const Kind kind = model_->KindOf(id);
  return kind == Kind::kControl || kind == Kind::kUnknown;
}

}  // namespace drover
