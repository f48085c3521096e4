#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace drover {

// Rows that a GPU multiplies at once: as many cost hardly more than one.
inline constexpr int32_t kTileRows = 64;
constexpr int32_t RoundUpToTiles(int32_t num_rows) {
  return (num_rows + kTileRows - 1) / kTileRows * kTileRows;
}

// What a step computes, as far as its time depends on it.
struct StepLoad {
  int32_t num_decodes = 0;
  int32_t num_prefill_tokens = 0;
  int64_t num_decode_keys = 0;    // that the decodes' attention reads
  int64_t num_prefill_pairs = 0;  // of a query and a key that it sees

  int32_t num_rows() const { return num_decodes + num_prefill_tokens; }

  // One token, or a chunk of them, behind `context` others of its sequence.
  void AddDecode(int32_t context);
  void AddChunk(int32_t num_tokens, int32_t context);
};

// How long steps take, learnt from those that have run:
//
//   time = base + mixed, if the step holds prefill tokens
//        + pair_cost * num_prefill_pairs + key_cost * num_decode_keys
//        + row_cost * num_rows
//        + sum over knots: tile_cost[knot] * max(0, whole tiles' rows - knot)
//
// by least squares over the latest steps. No cost is below zero. So the time is
// convex in the tiles, as the greater of the time to read the weights and the
// time to multiply by them is (Williams et al., "Roofline", 2009), and grows
// with a chunk; where nothing is multiplied by tiles, as on a CPU, with its
// rows. (Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM Inference
// with Sarathi-Serve", 2024, choose one chunk size for all steps, from a
// profile made before.) Single-threaded.
class StepForecast {
 public:
  // A step has run.
  void Observe(const StepLoad& load, absl::Duration time);

  // How long a step is expected to take; zero before there was one.
  absl::Duration StepTime(const StepLoad& load);

  // The tokens, at most `limit`, that one more chunk may have, after `context`
  // others of its sequence, for the step to take at most `time`. Never much
  // more than were ever seen in a step; a few while nothing was.
  int32_t TokensWithin(absl::Duration time, const StepLoad& load,
                       int32_t context, int32_t limit);

 private:
  static constexpr std::array<int32_t, 4> kKnots = {64, 128, 256, 512};
  static constexpr size_t kNumCosts = 5 + kKnots.size();
  // In the order of the formula: the costs, or what each is multiplied with.
  using Terms = std::array<double, kNumCosts>;

  // Normal equations of the squared relative error, newer steps weighing more.
  struct Equations {
    std::array<Terms, kNumCosts> products = {};
    Terms times = {};
  };

  static Terms TermsOf(const StepLoad& load);
  void Fit();

  // Apart, so that a long time without prompts does not make it forget what
  // chunks cost.
  Equations with_chunks_;
  Equations without_chunks_;
  int32_t most_tokens_ = 0;  // of prompts, in one step
  bool is_fitted_ = true;    // to all that was observed
  Terms costs_ = {};         // in seconds
};

}  // namespace drover
