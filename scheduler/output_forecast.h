#pragma once

#include <cstdint>

#include "scheduler/sequence.h"

namespace drover {

// How long outputs become, learnt from those that have ended: as a share of
// what their requests allowed, and beside their prompts. Begins at none, so
// that nothing is held back before anything is known. Single-threaded.
class OutputForecast {
 public:
  // A sequence has ended.
  void Observe(const Sequence& sequence);
  // Tokens were computed, and must be again.
  void ObserveLoss(int32_t num_tokens);

  // Tokens that a sequence is expected to get beyond those it has or that are
  // in flight; what it asks for at least is certain.
  int32_t TokensToCome(const Sequence& sequence) const;

  // Tokens computed of prompts for one of output; infinite before a sequence
  // has ended.
  double PromptsToOutput() const { return prompt_tokens_ / output_tokens_; }

 private:
  double share_ = 0.0;  // of max_new_tokens, a moving average
  // Sums, of which each sequence takes a part away.
  double prompt_tokens_ = 1.0;
  double output_tokens_ = 0.0;
};

}  // namespace drover
