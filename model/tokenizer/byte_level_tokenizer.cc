#include "model/tokenizer/byte_level_tokenizer.h"

#include <utility>

#include "base/status_macros.h"
#include "model/tokenizer/byte_alphabet.h"
#include "model/tokenizer/check_text.h"
#include "model/tokenizer/normalizer.h"
#include "model/tokenizer/offset_trimming.h"
#include "model/tokenizer/utf8_assembler.h"

namespace drover {
namespace {

// The added tokens that are looked for before, or after, normalisation.
std::vector<AddedToken> Select(const std::vector<AddedToken>& tokens,
                               bool normalized) {
  std::vector<AddedToken> selected;
  for (const AddedToken& token : tokens) {
    if (token.normalized == normalized) selected.push_back(token);
  }
  return selected;
}

// What an added token adds to a text. One that only happens to be written in
// the characters of bytes ("né") stands for itself if the bytes are no text.
std::string BytesOfAddedToken(const AddedToken& token) {
  if (token.special) return "";
  std::optional<std::string> bytes = BytesOfPiece(token.content);
  if (!bytes) return token.content;
  if (!token.in_vocabulary && !IsValidUtf8(*bytes)) return token.content;
  return *std::move(bytes);
}

// A part of the text after normalisation.
class Stretch {
 public:
  // `range` of `original`.
  Stretch(std::string_view original, ByteRange range, bool normalize)
      : text_(original.substr(range.begin, range.end - range.begin)),
        base_(range.begin) {
    if (!normalize || IsSurelyNfc(text_)) return;
    normalized_ = ToNfc(text_);
    text_ = normalized_.text;
  }
  Stretch(const Stretch&) = delete;
  Stretch& operator=(const Stretch&) = delete;

  std::string_view text() const { return text_; }

  // The range of the original that a range (not empty) of text() came from, in
  // whole characters.
  ByteRange OriginOf(ByteRange range) const {
    auto [begin, end] = range;
    if (!normalized_.origins.empty()) {
      begin = normalized_.origins[begin].begin;
      end = normalized_.origins[end - 1].end;
    } else {
      while (IsContinuationByte(text_[begin])) --begin;
      while (end < text_.size() && IsContinuationByte(text_[end])) ++end;
    }
    return {base_ + begin, base_ + end};
  }

 private:
  std::string_view text_;
  uint32_t base_;
  NormalizedText normalized_;  // if it is not the original
};

}  // namespace

// What one call of Encode needs.
class ByteLevelTokenizer::Encoder {
 public:
  Encoder(const ByteLevelTokenizer& tokenizer, std::string_view text,
          bool with_offsets)
      : tokenizer_(tokenizer), text_(text), with_offsets_(with_offsets) {}

  absl::StatusOr<Encoding> Run() {
    if (tokenizer_.bos_id_) Add(*tokenizer_.bos_id_, {0, 0});
    num_tokens_ = 0;
    for (const auto& [range, id] : tokenizer_.added_in_text_.Split(text_)) {
      if (id == AddedTokenMatcher::kNoToken) {
        DROVER_RETURN_IF_ERROR(
            EncodeStretch({text_, range, tokenizer_.normalizes_to_nfc_}));
      } else {
        AddAddedToken(id, range);
      }
    }
    return std::move(encoding_);
  }

 private:
  absl::Status EncodeStretch(const Stretch& stretch) {
    for (const auto& [range, id] :
         tokenizer_.added_in_normalized_.Split(stretch.text())) {
      if (id == AddedTokenMatcher::kNoToken) {
        DROVER_RETURN_IF_ERROR(EncodeWords(stretch, range));
      } else {
        AddAddedToken(id, stretch.OriginOf(range));
      }
    }
    return absl::OkStatus();
  }

  absl::Status EncodeWords(const Stretch& stretch, ByteRange range) {
    const std::string_view text =
        stretch.text().substr(range.begin, range.end - range.begin);
    DROVER_RETURN_IF_ERROR(tokenizer_.pre_tokenizer_.Split(text, words_));
    for (const auto& [begin, end] : words_) {
      tokenizer_.bpe_.Encode(text.substr(begin, end - begin), tokens_);
      ByteRange part = {range.begin + begin, range.begin + begin};
      for (const Bpe::Token& token : tokens_) {
        part = {part.end, range.begin + begin + token.end};
        AddToken(token.id, stretch, part);
      }
    }
    return absl::OkStatus();
  }

  void AddToken(int32_t id, const Stretch& stretch, ByteRange part) {
    if (!with_offsets_) return Add(id, {});
    Add(id, Trimmed(tokenizer_.pieces_[static_cast<size_t>(id)],
                    stretch.OriginOf(part)));
  }

  void AddAddedToken(int32_t id, ByteRange range) {
    Add(id, Trimmed(text_.substr(range.begin, range.end - range.begin), range));
  }

  ByteRange Trimmed(std::string_view piece, ByteRange range) const {
    for (const bool adds_space : tokenizer_.trims_) {
      const bool is_first = range.begin == 0 || num_tokens_ == 0;
      TrimByteLevel(piece, adds_space && is_first, range);
    }
    return range;
  }

  void Add(int32_t id, ByteRange range) {
    encoding_.ids.push_back(id);
    if (with_offsets_) encoding_.offsets.push_back(range);
    ++num_tokens_;
  }

  const ByteLevelTokenizer& tokenizer_;
  const std::string_view text_;
  const bool with_offsets_;
  std::vector<ByteRange> words_;
  std::vector<Bpe::Token> tokens_;
  size_t num_tokens_ = 0;  // of the text
  Encoding encoding_;
};

ByteLevelTokenizer::ByteLevelTokenizer(Parts parts)
    : pieces_(std::move(parts.pieces)),
      is_special_(pieces_.size()),
      added_in_text_(Select(parts.added_tokens, /*normalized=*/false)),
      added_in_normalized_(Select(parts.added_tokens, /*normalized=*/true)),
      normalizes_to_nfc_(parts.normalizes_to_nfc),
      pre_tokenizer_(std::move(parts.pre_tokenizer)),
      bpe_(std::move(parts.bpe)),
      bos_id_(parts.bos_id),
      trims_(std::move(parts.trims)) {
  bytes_.reserve(pieces_.size());
  // What is not written in the characters of bytes stands for itself.
  for (const std::string& piece : pieces_) {
    bytes_.push_back(BytesOfPiece(piece).value_or(piece));
  }
  for (const AddedToken& token : parts.added_tokens) {
    const auto id = static_cast<size_t>(token.id);
    bytes_[id] = BytesOfAddedToken(token);
    is_special_[id] = token.special;
  }
}

absl::StatusOr<Encoding> ByteLevelTokenizer::Encode(std::string_view text,
                                                    bool with_offsets) const {
  DROVER_RETURN_IF_ERROR(CheckText(text));
  return Encoder(*this, text, with_offsets).Run();
}

std::string ByteLevelTokenizer::Piece(int32_t id) const {
  return Contains(id) ? pieces_[static_cast<size_t>(id)] : "";
}

std::string_view ByteLevelTokenizer::Bytes(int32_t id) const {
  return Contains(id) ? bytes_[static_cast<size_t>(id)] : std::string_view();
}

bool ByteLevelTokenizer::IsSpecial(int32_t id) const {
  return Contains(id) && is_special_[static_cast<size_t>(id)];
}

}  // namespace drover
