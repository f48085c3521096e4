#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace drover {

// What byte-pair encoding knows of a vocabulary. Ids are not negative.
struct BpeTables {
  struct Merge {
    int32_t rank = 0;
    int32_t id = 0;
  };

  static constexpr uint64_t Pair(int32_t left, int32_t right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  }

  std::array<int32_t, 256> byte_ids = {};
  absl::flat_hash_map<uint64_t, Merge> merges;  // by Pair(left, right)
  // Words that are one token whatever the merges say (`ignore_merges`), by
  // their bytes.
  absl::flat_hash_map<std::string, int32_t> whole_words;
};

// Byte-pair encoding over bytes. Thread-safe.
class Bpe {
 public:
  struct Token {
    int32_t id;
    uint32_t end;  // in the word; each token begins where the last one ends
  };

  explicit Bpe(BpeTables tables);

  // The tokens of a word (any bytes). Of the pairs of neighbours that the
  // merges know, the one of the lowest rank is merged, the leftmost first,
  // until there is none: O(n log n) of the word's length.
  void Encode(std::string_view word, std::vector<Token>& tokens) const;

 private:
  class Word;

  BpeTables tables_;
};

}  // namespace drover
