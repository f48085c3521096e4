#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace drover {

// A soft prompt: rows that a model takes for the embeddings of its first
// tokens, which have no ids. Trained elsewhere; opaque here.
struct PromptPrefix {
  int32_t num_tokens = 0;  // at least 1
  // [num_tokens, hidden_size], in the dtype that the executor computes in.
  std::string rows;

  bool operator==(const PromptPrefix&) const = default;
};

// Bytes of one's rows, and of all rows that a plan carries: together with its
// prompts they must fit a message.
inline constexpr int64_t kMaxPrefixBytes = int64_t{128} << 20;

// Requests, the store that they come from and a plan share one.
using SharedPrefix = std::shared_ptr<const PromptPrefix>;

}  // namespace drover
