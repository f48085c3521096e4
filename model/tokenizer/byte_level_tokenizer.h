#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/pre_tokenizer.h"
#include "model/tokenizer/tokenizer.h"

namespace drover {

// Byte-level BPE as Llama 3, Qwen and Mistral-Nemo use it: added tokens are cut
// out of the text, the rest is normalised and cut into words, and in each word
// bytes are merged into tokens.
//
// Ids, pieces and ranges are those of Hugging Face's tokenizers, the ranges in
// bytes: a token that has some bytes of a character has all of it as its range.
class ByteLevelTokenizer : public Tokenizer {
 public:
  // See the functions that read them (read_*.h).
  struct Parts {
    std::vector<std::string> pieces;  // by id; empty: no such id
    std::vector<AddedToken> added_tokens;
    bool normalizes_to_nfc = false;
    PreTokenizer pre_tokenizer;
    BpeTables bpe;
    std::optional<int32_t> bos_id;
    std::vector<bool> trims;
  };

  // All ids that `parts` names have a piece.
  explicit ByteLevelTokenizer(Parts parts);

  // INTERNAL too, if a pattern gives up on the text.
  absl::StatusOr<Encoding> Encode(std::string_view text,
                                  bool with_offsets) const override;
  std::string Piece(int32_t id) const override;
  std::string_view Bytes(int32_t id) const override;
  bool IsSpecial(int32_t id) const override;
  std::optional<int32_t> bos_id() const override { return bos_id_; }
  int32_t vocab_size() const override {
    return static_cast<int32_t>(pieces_.size());
  }

 private:
  class Encoder;

  bool Contains(int32_t id) const { return id >= 0 && id < vocab_size(); }

  const std::vector<std::string> pieces_;
  std::vector<std::string> bytes_;  // by id; empty for special ids
  std::vector<bool> is_special_;
  const AddedTokenMatcher added_in_text_;
  const AddedTokenMatcher added_in_normalized_;
  const bool normalizes_to_nfc_;
  const PreTokenizer pre_tokenizer_;
  const Bpe bpe_;
  const std::optional<int32_t> bos_id_;
  const std::vector<bool> trims_;
};

}  // namespace drover
