#pragma once

#include <cstdint>

#include "scheduler/sequence.h"

namespace drover {

// How long outputs become, learnt from those that have ended, as a share of
// what their requests allowed, at first none, so that nothing is held back
// before anything is known; and how much of prompts comes with them.
// Single-threaded.
class OutputForecast {
 public:
  // A sequence has ended.
  void ObserveEnd(const Sequence& sequence);
  // A step computes so many tokens of prompts, and of what was preempted, and
  // brings so many of output.
  void ObserveStep(int64_t num_computed, int64_t num_sampled);

  // Tokens that a sequence is expected to get beyond those it has or that are
  // in flight; what it asks for at least is certain.
  int32_t TokensToCome(const Sequence& sequence) const;

  // Tokens computed for one of output; infinite before there was any.
  double PromptsToOutput() const { return computed_ / sampled_; }

 private:
  double share_ = 0.0;  // of max_new_tokens, a moving average
  // Tokens of all steps, of which each step takes a part away.
  double computed_ = 1.0;
  double sampled_ = 0.0;
};

}  // namespace drover
