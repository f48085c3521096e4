#include "scheduler/step_forecast.h"

#include <algorithm>
#include <numeric>

namespace drover {
namespace {

// What a step weighs after the next one: about a hundred count.
constexpr double kKeep = 0.99;
// Sums below it are nothing: denormal numbers would be slow.
constexpr double kForgotten = 1e-12;
// Enough, as each fit begins with the last one's costs.
constexpr int kNumSweeps = 60;
constexpr int32_t kFirstTokens = 64;
constexpr int32_t kGrowth = 2;  // beyond the most tokens seen

void Update(double newest, double& sum) {
  sum = kKeep * sum + newest;
  if (sum < kForgotten) sum = 0.0;
}

template <typename Terms>
double Dot(const Terms& a, const Terms& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

}  // namespace

void StepLoad::AddDecode(int32_t context) {
  ++num_decodes;
  num_decode_keys += context + 1;
}

void StepLoad::AddChunk(int32_t num_tokens, int32_t context) {
  const int64_t n = num_tokens;
  num_prefill_tokens += num_tokens;
  num_prefill_pairs += n * context + n * (n + 1) / 2;
}

StepForecast::Terms StepForecast::TermsOf(const StepLoad& load) {
  const int32_t tiled_rows = RoundUpToTiles(load.num_rows());
  Terms terms = {1.0, load.num_prefill_tokens > 0 ? 1.0 : 0.0,
                 static_cast<double>(load.num_prefill_pairs),
                 static_cast<double>(load.num_decode_keys),
                 static_cast<double>(load.num_rows())};
  for (size_t i = 0; i < kKnots.size(); ++i) {
    terms[5 + i] = std::max(0, tiled_rows - kKnots[i]);
  }
  return terms;
}

void StepForecast::Observe(const StepLoad& load, absl::Duration time) {
  const double seconds = absl::ToDoubleSeconds(time);
  if (seconds <= 0.0) return;  // nobody measured
  Equations& equations =
      load.num_prefill_tokens > 0 ? with_chunks_ : without_chunks_;
  // The error is relative to the time, so a step that stumbled weighs little.
  Terms terms = TermsOf(load);
  for (double& term : terms) term /= seconds;
  for (size_t i = 0; i < kNumCosts; ++i) {
    Update(terms[i], equations.times[i]);
    for (size_t j = 0; j < kNumCosts; ++j) {
      Update(terms[i] * terms[j], equations.products[i][j]);
    }
  }
  most_tokens_ = std::max(most_tokens_, load.num_prefill_tokens);
  is_fitted_ = false;
}

// Non-negative least squares by coordinate descent (Franc, Hlavac and Navara,
// "Sequential Coordinate-Wise Algorithm for the Non-negative Least Squares
// Problem", 2005). Where nothing speaks of a cost, it stays what it was.
void StepForecast::Fit() {
  Equations all = with_chunks_;
  for (size_t i = 0; i < kNumCosts; ++i) {
    all.times[i] += without_chunks_.times[i];
    for (size_t j = 0; j < kNumCosts; ++j) {
      all.products[i][j] += without_chunks_.products[i][j];
    }
  }
  for (int sweep = 0; sweep < kNumSweeps; ++sweep) {
    for (size_t i = 0; i < kNumCosts; ++i) {
      const double curvature = all.products[i][i];
      if (curvature == 0.0) continue;
      const double missing = all.times[i] - Dot(all.products[i], costs_);
      costs_[i] = std::max(0.0, costs_[i] + missing / curvature);
    }
  }
  is_fitted_ = true;
}

absl::Duration StepForecast::StepTime(const StepLoad& load) {
  if (!is_fitted_) Fit();
  return absl::Seconds(Dot(TermsOf(load), costs_));
}

int32_t StepForecast::TokensWithin(absl::Duration time, const StepLoad& load,
                                   int32_t context, int32_t limit) {
  const int32_t most = std::max(kFirstTokens, kGrowth * most_tokens_);
  int32_t fitting = 0;
  int32_t too_many = 1 + std::min(limit, most - load.num_prefill_tokens);
  while (too_many - fitting > 1) {
    const int32_t middle = (fitting + too_many) / 2;
    StepLoad with_chunk = load;
    with_chunk.AddChunk(middle, context);
    (StepTime(with_chunk) <= time ? fitting : too_many) = middle;
  }
  return fitting;
}

}  // namespace drover
