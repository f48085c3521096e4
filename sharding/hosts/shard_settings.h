#pragma once

#include <cstdint>
#include <string>

namespace drover {

// How a model is to run, the same at every rank: a rank that somebody else
// started hears it from the router.
struct ShardSettings {
  std::string dtype;           // empty: the model's own
  int64_t kv_cache_bytes = 0;  // of each rank; 0: chosen from its memory
  int32_t num_slots = 64;
  int32_t max_step_tokens = 512;
  int32_t max_sequence_length = 0;  // 0: the model's own
  bool raw_logprobs = false;
  int32_t max_top_n = 10;  // entries that a request may ask for
};

}  // namespace drover
