#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer.h"

namespace drover::testing {

// A tokenizer that a test can read: id 1 is BOS, 2 is EOS, 3 is another control
// token; a byte b is id 4 + b, and the pieces given follow from id 260. A text
// encodes as BOS and its bytes. "!" cannot be encoded.
class ScriptTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kBos = 1;
  static constexpr int32_t kEos = 2;
  static constexpr int32_t kControl = 3;
  static constexpr int32_t kFirstPiece = 260;

  explicit ScriptTokenizer(std::vector<std::string> pieces = {},
                           bool has_bos = true);

  static int32_t ByteId(char byte) {
    return 4 + static_cast<unsigned char>(byte);
  }

  absl::StatusOr<Encoding> Encode(std::string_view text,
                                  bool with_offsets) const override;
  std::string Piece(int32_t id) const override;
  std::string_view Bytes(int32_t id) const override;
  bool IsSpecial(int32_t id) const override { return id < 4; }
  std::optional<int32_t> bos_id() const override;
  int32_t vocab_size() const override {
    return static_cast<int32_t>(bytes_.size());
  }

 private:
  std::vector<std::string> bytes_;  // by id
  const bool has_bos_;
};

}  // namespace drover::testing
