#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace drover {

// A token that may be drawn. Score: unnormalised log-probability, finite.
struct Candidate {
  int32_t id = 0;
  float score = 0.0f;

  bool operator==(const Candidate&) const = default;
};

// The filters of docs/sampling.md. Each keeps at least the best candidate, and
// leaves the order unspecified.

// The scores that are at least the k-th largest, and above -inf. k >= 1.
std::vector<Candidate> KeepTopK(absl::Span<const float> scores, int32_t k);

// All scores above -inf.
std::vector<Candidate> KeepPossible(absl::Span<const float> scores);

// Ordered by score descending, then id ascending: those before which less than
// `top_p` of the mass lies. top_p in (0, 1). At least one score is above -inf.
void KeepTopP(float top_p, std::vector<Candidate>& candidates);

// The same of a whole vocabulary, most of which is never looked at twice.
std::vector<Candidate> KeepTopP(float top_p, absl::Span<const float> scores);

// Ordered by how far their information -log p is from the entropy: those
// before which less than `typical_p` of the mass lies, and all as near as the
// last of these. typical_p in (0, 1).
void KeepTypical(float typical_p, std::vector<Candidate>& candidates);

}  // namespace drover
