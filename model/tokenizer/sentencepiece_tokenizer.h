#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/sentencepiece_model.h"
#include "model/tokenizer/tokenizer.h"

namespace drover {

// Llama's first tokenizer: a sentencepiece model with byte fallback. Offsets
// are those of Hugging Face's tokenizers rather than sentencepiece's own: all
// of a character belongs to each piece that has a part of it, and a piece
// without width, such as an artificial leading "▁" that merged with nothing,
// has the character where it stands.
//   "é a" -> ▁ (0,2)  <0xC3> (0,2)  <0xA9> (0,2)  ▁a (2,4)
class SentencepieceTokenizer : public Tokenizer {
 public:
  struct Options {
    bool prepend_bos = true;  // if the model has a BOS at all
    // Whether tokens are found in a text by their pieces: those that the model
    // has for control, and these, as far as they are the model's. What lies
    // between two of them is encoded for itself. False: all text is text.
    bool finds_added_tokens = false;
    std::vector<AddedToken> added_tokens;
    // Whether text behind such a token gets the artificial space that the
    // beginning gets: Hugging Face's "legacy".
    bool prefixes_every_part = true;
  };

  // From the content of a tokenizer.model. INVALID_ARGUMENT (without a file
  // name) if it cannot be used.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(
      std::string_view serialized, Options options);

  absl::StatusOr<Encoding> Encode(std::string_view text,
                                  bool with_offsets) const override;
  std::string Piece(int32_t id) const override;
  std::string_view Bytes(int32_t id) const override;
  bool IsSpecial(int32_t id) const override;
  std::optional<int32_t> bos_id() const override { return bos_id_; }
  int32_t vocab_size() const override { return std::ssize(bytes_); }

 private:
  // `continuing`: encodes without the artificial space; null: not wanted.
  SentencepieceTokenizer(std::unique_ptr<SentencepieceModel> model,
                         std::unique_ptr<SentencepieceModel> continuing,
                         Options options);

  // Tokens to look for in a text.
  static std::vector<AddedToken> TokensOf(const SentencepieceModel& model,
                                          Options options);
  // Appends what `range` of `text`, between added tokens, is encoded to.
  absl::Status EncodePart(std::string_view text, ByteRange range,
                          bool with_offsets, Encoding& encoding) const;

  bool Contains(int32_t id) const { return id >= 0 && id < vocab_size(); }

  const std::unique_ptr<SentencepieceModel> model_;
  const std::unique_ptr<SentencepieceModel> continuing_;
  const AddedTokenMatcher added_tokens_;
  std::optional<int32_t> bos_id_;
  std::vector<std::string> bytes_;  // by id; empty for special ids
};

}  // namespace drover
