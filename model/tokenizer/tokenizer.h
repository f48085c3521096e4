#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace drover {

// Half-open range of UTF-8 bytes of the submitted text.
struct ByteRange {
  uint32_t begin = 0;
  uint32_t end = 0;

  bool operator==(const ByteRange&) const = default;
};

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<ByteRange> offsets;  // one per id if asked for, else empty

  bool operator==(const Encoding&) const = default;
};

// Text to ids and back. Thread-safe once loaded.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // With the special tokens the model wants (Llama: BOS in front), whose offset
  // is (0,0). INVALID_ARGUMENT if `text` is not UTF-8.
  virtual absl::StatusOr<Encoding> Encode(std::string_view text,
                                          bool with_offsets) const = 0;

  // The raw vocabulary piece ("▁Once", "ĠOnce", "<0x0A>", "</s>"); empty for an
  // unknown id.
  virtual std::string Piece(int32_t id) const = 0;

  // The bytes an id adds to a continuation: the leading space of "▁Once" is
  // kept, a byte piece gives its byte, special ids give nothing. Bytes of one
  // id need not be whole characters (see Utf8Assembler).
  virtual std::string_view Bytes(int32_t id) const = 0;

  // Control tokens: no text in the output unless asked for, then their piece.
  virtual bool IsSpecial(int32_t id) const = 0;

  // The id that encoding an empty text begins with, if any.
  virtual std::optional<int32_t> bos_id() const = 0;

  virtual int32_t vocab_size() const = 0;
};

// From the model folder: tokenizer.model (sentencepiece) or, where there is
// none, tokenizer.json (byte-level BPE). Where there are both, tokenizer.model
// counts and the other is not read. NOT_FOUND names what it looked for; what
// cannot be used is refused by name.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(
    const std::string& model_dir);

// One word, one id: for dummy weights without a tokenizer file. Id 1 is BOS,
// 2 is EOS; a word hashes to one of the others, and id n reads " w<n>".
std::unique_ptr<Tokenizer> MakeSyntheticTokenizer(int32_t vocab_size);

}  // namespace drover
