#pragma once

#include <cstdint>
#include <optional>

namespace drover {

// Exponentially growing boost of the EOS logits once more than `start_index`
// tokens were generated.
struct LengthPenalty {
  int32_t start_index = 0;
  float decay_factor = 1.0f;  // in [1, 10]

  bool operator==(const LengthPenalty&) const = default;
};

// How one sequence chooses its tokens, after conversion and validation: every
// value is in range and "off" has one spelling. The pipeline that reads them is
// docs/sampling.md.
struct SamplingParams {
  // True: argmax, lowest id on ties; temperature, top_k, top_p, typical_p and
  // seed are not read.
  bool greedy = true;
  float temperature = 1.0f;         // > 0
  int32_t top_k = 0;                // 0: off
  float top_p = 1.0f;               // 1: off
  float typical_p = 1.0f;           // 1: off
  float repetition_penalty = 1.0f;  // 1: off
  std::optional<LengthPenalty> length_penalty;
  int32_t min_new_tokens = 0;  // EOS is impossible before this many tokens
  uint64_t seed = 0;

  // What to report with each generated token. The chosen id's logprob and rank
  // are computed only if one of these asks for them.
  bool token_scores = false;  // logprob and rank
  int32_t top_n = 0;          // best ids with their logprobs

  // The same for the prompt's tokens, from the raw logits.
  bool prompt_scores = false;
  int32_t prompt_top_n = 0;

  bool operator==(const SamplingParams&) const = default;
};

}  // namespace drover
