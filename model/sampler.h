#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "scheduler/batch_plan.h"
#include "scheduler/sampling_params.h"

namespace drover {

// Chooses one sequence's tokens: penalties, warpers, and a draw that depends
// only on (seed, number of the generated token, vocabulary id), so that equal
// logits give equal tokens whatever the row, the batch, a preemption or a
// restart. The definitions are docs/sampling.md. Not thread-safe; different
// sequences may run on different threads.
class SequenceSampler {
 public:
  // `eos_ids` outlives the sampler.
  SequenceSampler(const SamplingParams& params,
                  absl::Span<const int32_t> eos_ids, int32_t vocab_size);

  // Prompt or generated ids, for the repetition penalty. Each id of the
  // sequence once, in any slices; Sample does not add its own choice.
  void Observe(absl::Span<const int32_t> ids);

  struct Choice {
    SequenceStatus status = SequenceStatus::kOk;
    TokenScore token;  // valid if kOk
  };

  // logits: [vocab_size] float32 on the host, raw; overwritten.
  // num_generated: tokens generated before this one.
  // kNonFiniteLogits if a logit is NaN or +inf, or if no token is possible.
  Choice Sample(absl::Span<float> logits, int32_t num_generated);

 private:
  const SamplingParams params_;
  const absl::Span<const int32_t> eos_ids_;
  std::vector<uint64_t> seen_;  // bitmap over the vocabulary; empty if unused
};

// Log-softmax of `logits` at `id`, its rank, and the best `top_n` ids with all
// ties at the boundary (at most 4 * top_n, lowest ids first).
// logits: [vocab_size] float32, unchanged.
TokenScore ScoreToken(absl::Span<const float> logits, int32_t id,
                      int32_t top_n);

}  // namespace drover
