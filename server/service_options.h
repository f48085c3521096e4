#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace drover {

// What the public service allows and how it behaves where a request leaves the
// choice to the server.
struct ServiceOptions {
  // Prompt and output together, in tokens; at most what the executor can run.
  int32_t max_sequence_length = 2048;
  // The largest max_new_tokens a request may ask for.
  int32_t max_new_tokens = 1024;
  // Inputs being worked on at once, over all calls. Beyond it a call is refused
  // with RESOURCE_EXHAUSTED, so the engine's queue needs no more room than
  // this.
  int32_t max_concurrent_requests = 512;
  // The largest top_n_tokens.
  int32_t max_top_n_tokens = 10;
  // Bytes that may wait for one stream's client; beyond it the stream ends with
  // RESOURCE_EXHAUSTED.
  int64_t max_pending_stream_bytes = 1 << 20;
  // Threads that encode texts, and thus how many long ones are worked on at
  // once; short ones wait behind them.
  int num_tokenization_threads = 2;
  // Threads that assemble text, shared by all requests.
  int num_emitter_threads = 1;
  // Whether a matched stop sequence stays in the text when the request does not
  // say.
  bool default_include_stop_sequences = true;
  // Whether special tokens show in the text, as their vocabulary pieces.
  bool output_special_tokens = false;

  // INVALID_ARGUMENT names the field and its value.
  absl::Status Validate() const;
};

}  // namespace drover
