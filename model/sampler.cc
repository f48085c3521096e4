#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/distribution.h"
#include "model/kernels/cpu/cpu_kernels.h"
#include "model/token_draw.h"
#include "model/warpers.h"

namespace drover {
namespace {

using Choice = SequenceSampler::Choice;

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

float ClampToFinite(double value) {
  return static_cast<float>(std::clamp<double>(value, -kLargest, kLargest));
}

kernels::LogitScan Scan(absl::Span<const float> logits) {
  return kernels::CpuLogitKernels().scan(logits.data(),
                                         static_cast<int64_t>(logits.size()));
}

// Bans or boosts the EOS ids. Returns whether it changed anything.
bool PenalizeEos(const SamplingParams& params,
                 absl::Span<const int32_t> eos_ids, int32_t num_generated,
                 absl::Span<float> logits) {
  const bool ban = num_generated < params.min_new_tokens;
  const bool boost = !ban && params.length_penalty.has_value() &&
                     num_generated > params.length_penalty->start_index;
  if (!ban && !boost) return false;
  double growth = 0.0;
  if (boost) {
    const LengthPenalty& penalty = *params.length_penalty;
    growth = ClampToFinite(std::pow(double{penalty.decay_factor},
                                    num_generated - penalty.start_index) -
                           1.0);
  }
  for (const int32_t id : eos_ids) {
    if (id < 0 || static_cast<size_t>(id) >= logits.size()) continue;
    float& eos = logits[id];
    if (ban) {
      eos = kMinusInfinity;
    } else if (eos != kMinusInfinity) {
      eos = ClampToFinite(eos + std::abs(double{eos}) * growth);
    }
  }
  return true;
}

// `seen`: bitmap over the vocabulary.
void PenalizeRepetition(float penalty, absl::Span<const uint64_t> seen,
                        absl::Span<float> logits) {
  for (size_t word = 0; word < seen.size(); ++word) {
    for (uint64_t bits = seen[word]; bits != 0; bits &= bits - 1) {
      float& logit = logits[word * 64 + __builtin_ctzll(bits)];
      if (logit == kMinusInfinity) continue;
      logit = ClampToFinite(logit < 0.0f ? double{logit} * penalty
                                         : double{logit} / penalty);
    }
  }
}

void DivideByTemperature(float temperature, absl::Span<float> logits) {
  if (temperature == 1.0f) return;
  for (float& logit : logits) {
    logit = std::min(logit / temperature, kLargest);
  }
}

bool WantsScores(const SamplingParams& params) {
  return params.token_scores || params.top_n > 0;
}

Choice Choose(const SamplingParams& params, const Distribution& distribution,
              int32_t position) {
  if (position < 0) return {.status = SequenceStatus::kNonFiniteLogits};
  if (WantsScores(params)) {
    return {.token = ScorePosition(distribution, position, params.top_n)};
  }
  return {.token = {.id = distribution.id(static_cast<size_t>(position))}};
}

// What the filters leave of `logits`, one of which is above -inf. At least one
// filter is on.
std::vector<Candidate> Filter(const SamplingParams& params,
                              absl::Span<const float> logits) {
  std::vector<Candidate> candidates;
  if (params.top_k > 0) {
    candidates = KeepTopK(logits, params.top_k);
    if (params.top_p < 1.0f) KeepTopP(params.top_p, candidates);
  } else if (params.top_p < 1.0f) {
    candidates = KeepTopP(params.top_p, logits);
  } else {
    candidates = KeepPossible(logits);
  }
  if (params.typical_p < 1.0f) KeepTypical(params.typical_p, candidates);
  return candidates;
}

Choice Draw(const SamplingParams& params, absl::Span<const float> logits,
            int32_t num_generated) {
  const TokenDraw draw(params.seed, num_generated);
  if (params.top_k == 0 && params.top_p >= 1.0f && params.typical_p >= 1.0f) {
    const Distribution all = {.scores = logits};
    return Choose(params, all, DrawPosition(all, draw));
  }
  if (Scan(logits).max == kMinusInfinity) {
    return {.status = SequenceStatus::kNonFiniteLogits};
  }
  std::vector<int32_t> ids;
  std::vector<float> scores;
  for (const Candidate& candidate : Filter(params, logits)) {
    ids.push_back(candidate.id);
    scores.push_back(candidate.score);
  }
  const Distribution kept = {.scores = scores, .ids = ids};
  return Choose(params, kept, DrawPosition(kept, draw));
}

}  // namespace

SequenceSampler::SequenceSampler(const SamplingParams& params,
                                 absl::Span<const int32_t> eos_ids,
                                 int32_t vocab_size)
    : params_(params), eos_ids_(eos_ids) {
  if (params_.repetition_penalty != 1.0f) {
    seen_.resize((static_cast<size_t>(vocab_size) + 63) / 64);
  }
}

void SequenceSampler::Observe(absl::Span<const int32_t> ids) {
  if (seen_.empty()) return;
  for (const int32_t id : ids) {
    seen_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
  }
}

Choice SequenceSampler::Sample(absl::Span<float> logits,
                               int32_t num_generated) {
  kernels::LogitScan scan = Scan(logits);
  if (!scan.finite || scan.max == kMinusInfinity) {
    return {.status = SequenceStatus::kNonFiniteLogits};
  }
  const bool changed =
      PenalizeEos(params_, eos_ids_, num_generated, logits) || !seen_.empty();
  PenalizeRepetition(params_.repetition_penalty, seen_, logits);
  if (!params_.greedy) {
    DivideByTemperature(params_.temperature, logits);
    return Draw(params_, logits, num_generated);
  }
  if (changed) scan = Scan(logits);
  const int32_t best = scan.max == kMinusInfinity ? -1 : scan.argmax;
  return Choose(params_, {.scores = logits}, best);
}

TokenScore ScoreToken(absl::Span<const float> logits, int32_t id,
                      int32_t top_n) {
  return ScorePosition({.scores = logits}, id, top_n);
}

}  // namespace drover
