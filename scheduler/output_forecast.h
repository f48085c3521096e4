#pragma once

#include <cstdint>

#include "scheduler/sequence.h"

namespace drover {

// How long outputs become, learnt from those that have ended: as a share of
// what their requests allowed. Begins at none, so that nothing is held back
// before anything is known. Single-threaded.
class OutputForecast {
 public:
  // A sequence has ended.
  void Observe(const Sequence& sequence);

  // Tokens that a sequence is expected to get beyond those it has or that are
  // in flight; what it asks for at least is certain.
  int32_t TokensToCome(const Sequence& sequence) const;

 private:
  double share_ = 0.0;  // of max_new_tokens, a moving average
};

}  // namespace drover
