#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "model/tokenizer/tokenizer.h"

namespace drover {

// A token that is found in the text before anything else, whatever the
// vocabulary's own rules.
struct AddedToken {
  int32_t id = 0;
  std::string content;       // not empty
  bool single_word = false;  // only where no word continues on either side
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // looked for in the normalised text
  bool special = false;
  bool in_vocabulary = false;  // the rules of the vocabulary give it too
};

// Finds added tokens: the leftmost first, of those that begin in one place the
// longest. Thread-safe.
class AddedTokenMatcher {
 public:
  static constexpr int32_t kNoToken = -1;

  struct Part {
    ByteRange range;
    int32_t id = kNoToken;  // kNoToken: text between two tokens

    bool operator==(const Part&) const = default;
  };

  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  // `text` (UTF-8) cut into tokens and what lies between them, in order.
  std::vector<Part> Split(std::string_view text) const;

 private:
  // The index of the longest token that `text` begins with, or -1.
  int32_t LongestAt(std::string_view text) const;
  void Insert(int32_t index);

  std::vector<AddedToken> tokens_;
  std::array<bool, 256> begins_token_ = {};
  // A trie: (node, byte) to node, and the token that ends at a node.
  absl::flat_hash_map<uint64_t, uint32_t> edges_;
  std::vector<int32_t> token_at_ = {-1};
};

}  // namespace drover
