#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace drover {

// Writes small sentencepiece models and normalisation tables byte by byte, as
// sentencepiece_model.proto and Darts-clone lay them out.

inline std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) {
    bytes += static_cast<char>(0x80 | (value & 0x7F));
  }
  return bytes += static_cast<char>(value);
}

inline std::string NumberField(uint64_t number, uint64_t value) {
  return Varint(number << 3) + Varint(value);
}

inline std::string BytesField(uint64_t number, std::string_view bytes) {
  return Varint(number << 3 | 2) + Varint(bytes.size()) + std::string(bytes);
}

enum PieceType : uint64_t { kNormal = 1, kUnk = 2, kControlPiece = 3 };

// A BPE model without byte fallback.
inline std::string ModelBytes(
    const std::vector<std::pair<std::string, PieceType>>& pieces,
    std::string_view charsmap = "") {
  std::string model;
  for (const auto& [text, type] : pieces) {
    model += BytesField(1, BytesField(1, text) + NumberField(3, type));
  }
  model += BytesField(2, NumberField(3, /*BPE*/ 2));
  model += BytesField(3, BytesField(2, charsmap) +
                             NumberField(/*remove_extra_whitespaces*/ 4, 0));
  return model;
}

// 256 units of a trie, none of which any byte leads to.
class TrieBuilder {
 public:
  // The unit at `at` leads from byte `label` to the state `at ^ offset`.
  TrieBuilder& Set(size_t at, uint8_t label, uint32_t offset, bool has_leaf) {
    units_[at] = offset << 10 | (has_leaf ? 1u << 8 : 0u) | label;
    return *this;
  }
  TrieBuilder& SetValue(size_t at, uint32_t value) {
    units_[at] = 1u << 31 | value;
    return *this;
  }

  // The table with these replacements, each of which ends in a zero byte.
  std::string Charsmap(std::string_view replacements) const {
    std::string bytes = Word(static_cast<uint32_t>(4 * units_.size()));
    for (const uint32_t unit : units_) bytes += Word(unit);
    return bytes += replacements;
  }

 private:
  static std::string Word(uint32_t value) {
    std::string bytes;
    for (int shift = 0; shift < 32; shift += 8) {
      bytes += static_cast<char>(value >> shift);
    }
    return bytes;
  }

  std::vector<uint32_t> units_ = std::vector<uint32_t>(256, 1u << 31);
};

// Replaces "a" by "b": from the root to state 1, from there by 'a' to 0x80.
inline TrieBuilder TrieFromAToB() {
  return TrieBuilder()
      .Set(0, 0, 1, false)
      .Set(1 ^ 'a', 'a', 0x80 ^ 1 ^ 'a', true)
      .SetValue(0x80, 0);
}

}  // namespace drover
