#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/json_node.h"

namespace drover {

// More ids than any tokenizer has; bounds the tables that one id can demand.
inline constexpr int32_t kMaxTokenIds = 1 << 20;

struct BpeModel {
  BpeTables tables;
  std::vector<std::string> pieces;                // by id; empty: no such id
  absl::flat_hash_map<std::string, int32_t> ids;  // by piece
};

// The `model` of a tokenizer.json: byte-level BPE. The character of every byte
// that occurs in UTF-8 must be in its vocabulary; `unk_token`, `fuse_unk` and
// `byte_fallback` then have nothing to do, and are not read.
absl::StatusOr<BpeModel> ReadBpe(const JsonNode& model);

}  // namespace drover
