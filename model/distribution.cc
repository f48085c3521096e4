#include "model/distribution.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "model/kernels/cpu/cpu_kernels.h"

namespace drover {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// The best top_n and their ties, unordered, with scores in place of logprobs.
std::vector<TopToken> SelectTop(const Distribution& distribution,
                                int32_t top_n) {
  const float threshold = KthLargest(distribution.scores, top_n);
  std::vector<TopToken> top;
  for (size_t i = 0; i < distribution.scores.size(); ++i) {
    const float score = distribution.scores[i];
    if (score >= threshold && score > kMinusInfinity) {
      top.push_back({distribution.id(i), score});
    }
  }
  const size_t limit = size_t{4} * static_cast<size_t>(top_n);
  if (top.size() > limit) {
    std::nth_element(top.begin(), top.begin() + limit, top.end(),
                     [](const TopToken& a, const TopToken& b) {
                       return a.logprob != b.logprob ? a.logprob > b.logprob
                                                     : a.id < b.id;
                     });
    top.resize(limit);
  }
  return top;
}

}  // namespace

float KthLargest(absl::Span<const float> scores, int32_t k) {
  const size_t count = static_cast<size_t>(k);
  if (count > scores.size()) return kMinusInfinity;
  // What may be among the k largest; cut back to k whenever it is full, which
  // raises the bar for what follows.
  std::vector<float> best;
  const size_t capacity = std::max<size_t>(2 * count, 512);
  best.reserve(capacity);
  float bar = kMinusInfinity;
  const auto cut = [&] {
    std::nth_element(best.begin(), best.begin() + (count - 1), best.end(),
                     std::greater<>());
    bar = best[count - 1];
    best.resize(count);
  };
  for (const float score : scores) {
    if (!(score > bar)) continue;
    best.push_back(score);
    if (best.size() == capacity) cut();
  }
  if (best.size() < count) return kMinusInfinity;
  cut();
  return bar;
}

int32_t DrawPosition(const Distribution& distribution, TokenDraw draw) {
  double best = -std::numeric_limits<double>::infinity();
  int32_t best_position = -1;
  for (size_t i = 0; i < distribution.scores.size(); ++i) {
    const double score = distribution.scores[i];
    // Most ids fall at one of two hurdles, before the logarithms.
    if (score + TokenDraw::kMax < best || score == kMinusInfinity) continue;
    const int32_t id = distribution.id(i);
    const uint32_t bits = draw.Bits(id);
    if (score + TokenDraw::UpperBound(bits) < best) continue;
    const double value = score + TokenDraw::NegativeLogExponential(bits);
    if (best_position < 0 || value > best ||
        (value == best && id < distribution.id(best_position))) {
      best = value;
      best_position = static_cast<int32_t>(i);
    }
  }
  return best_position;
}

TokenScore ScorePosition(const Distribution& distribution, int32_t position,
                         int32_t top_n) {
  const kernels::LogitKernels& kernels = kernels::CpuLogitKernels();
  const float* scores = distribution.scores.data();
  const int64_t size = static_cast<int64_t>(distribution.scores.size());
  const float max = kernels.scan(scores, size).max;
  const double log_sum = std::log(kernels.exp_sums(scores, size, max).sum);
  // Adding 0 makes +0 of -0.
  const auto logprob = [&](float score) {
    return static_cast<float>(double{score} - max - log_sum) + 0.0f;
  };
  const float score = scores[position];
  TokenScore result;
  result.id = distribution.id(position);
  result.logprob = logprob(score);
  result.rank =
      1 + static_cast<int32_t>(kernels.count_greater(scores, size, score));
  if (top_n <= 0) return result;
  result.top = SelectTop(distribution, top_n);
  for (TopToken& token : result.top) token.logprob = logprob(token.logprob);
  std::sort(result.top.begin(), result.top.end(),
            [](const TopToken& a, const TopToken& b) {
              return a.logprob != b.logprob ? a.logprob > b.logprob
                                            : a.id < b.id;
            });
  return result;
}

}  // namespace drover
