#pragma once

#include <cstdint>
#include <string>

#include "model/tokenizer/byte_alphabet.h"
#include "nlohmann/json.hpp"

namespace drover {

// A tokenizer.json with the characters of all bytes (ids 0 to 255), "ab" (256),
// "abc" (257) and the special token <s> (258).
inline nlohmann::json SmallTokenizerJson() {
  nlohmann::json vocab;
  for (int byte = 0; byte < 256; ++byte) {
    vocab[CharacterOfByte(static_cast<uint8_t>(byte))] = byte;
  }
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  nlohmann::json document = nlohmann::json::parse(R"({
    "version": "1.0",
    "added_tokens": [{"id": 258, "content": "<s>", "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "post_processor": null,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "merges": [["a", "b"], ["ab", "c"]]}
  })");
  document["model"]["vocab"] = vocab;
  return document;
}

}  // namespace drover
