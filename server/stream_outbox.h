#pragma once

#include <cstdint>
#include <deque>

#include "proto/generation.pb.h"

namespace drover {

// The messages of one stream that wait for its client, in order. Text that
// comes while text waits joins it, so a slow reader gets fewer and longer
// messages; a message with token records, and those about the prompt, stay by
// themselves. Not thread-safe.
class StreamOutbox {
 public:
  void Push(fmaas::GenerationResponse message);

  // Not if empty.
  fmaas::GenerationResponse Pop();

  bool empty() const { return messages_.empty(); }
  void Clear();

  // Of generated output alone: what the prompt brings is bounded by the prompt.
  int64_t num_output_bytes() const { return num_output_bytes_; }

 private:
  std::deque<fmaas::GenerationResponse> messages_;
  int64_t num_output_bytes_ = 0;
};

}  // namespace drover
