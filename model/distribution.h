#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/token_draw.h"
#include "scheduler/batch_plan.h"

namespace drover {

// Unnormalised log-probabilities of some vocabulary ids; all others are
// impossible, and so is a score of -inf. Borrows its arrays.
struct Distribution {
  absl::Span<const float> scores;
  // The scores' ids, distinct, in any order. Empty: score i is that of id i.
  absl::Span<const int32_t> ids;

  int32_t id(size_t position) const {
    return ids.empty() ? static_cast<int32_t>(position) : ids[position];
  }
};

// The k-th largest of `scores`, k >= 1, without sorting them; -inf if fewer
// than k are above -inf. NaN is passed over.
float KthLargest(absl::Span<const float> scores, int32_t k);

// The position of the drawn token: the argmax of score - log e, the lowest id
// on ties. -1 if no score is above -inf.
int32_t DrawPosition(const Distribution& distribution, TokenDraw draw);

// Log-probability and rank of the token at `position`, and the best `top_n`
// with all ties at the boundary: at most 4 * top_n, of the ties the lowest ids.
TokenScore ScorePosition(const Distribution& distribution, int32_t position,
                         int32_t top_n);

}  // namespace drover
