#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace drover {

// What a step computes besides decodes: chunks of prompts.
struct ChunkLoad {
  int64_t num_tokens = 0;
  int64_t num_pairs = 0;  // of a query and a key that it sees

  // A chunk of `tokens` after `context` others.
  static ChunkLoad Of(int32_t tokens, int32_t context);

  ChunkLoad& operator+=(const ChunkLoad& other);
};

// How long steps take, learnt from those that have run. A step's decodes take
// what they took lately; chunks add to that for each token, which is a row of
// every product, and for each pair, which is attention:
//
//   time = decodes + base + token_cost * num_tokens + pair_cost * num_pairs
//
// by least squares over the latest steps with chunks. `base` is below zero
// where the first tokens are free, since weights are being read meanwhile.
// (Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM Inference with
// Sarathi-Serve", 2024, choose one chunk size for all steps, from a profile
// made before.) Single-threaded.
class StepForecast {
 public:
  // A step that held decodes has run.
  void Observe(const ChunkLoad& chunks, absl::Duration time);

  // Of a step without chunks; zero before there was one.
  absl::Duration DecodeTime() const { return absl::Seconds(decode_seconds_); }

  // What chunks add to that.
  absl::Duration ChunkTime(const ChunkLoad& chunks) const;

  // The tokens that one more chunk may have, after `context` others of its
  // sequence, for `chunks` and itself to add at most `time`. Never much more
  // than were ever seen in a step; a few while nothing was.
  int32_t TokensWithin(absl::Duration time, const ChunkLoad& chunks,
                       int32_t context) const;

 private:
  void Fit();
  double CostSeconds(const ChunkLoad& chunks) const;  // without the base

  double decode_seconds_ = 0.0;
  // What was fitted.
  double base_seconds_ = 0.0;
  double token_seconds_ = 0.0;
  double pair_seconds_ = 0.0;

  int64_t most_tokens_ = 0;  // in one step
  // Over steps with chunks, newer ones weighing more: means of tokens, of pairs
  // and of the seconds that they added, and what these have in common.
  int64_t num_steps_ = 0;
  double tokens_ = 0.0;
  double pairs_ = 0.0;
  double seconds_ = 0.0;
  double var_tokens_ = 0.0;
  double var_pairs_ = 0.0;
  double cov_tokens_pairs_ = 0.0;
  double cov_tokens_seconds_ = 0.0;
  double cov_pairs_seconds_ = 0.0;
};

}  // namespace drover
