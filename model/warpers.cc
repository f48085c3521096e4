#include "model/warpers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/distribution.h"
#include "model/kernels/cpu/cpu_kernels.h"

namespace drover {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

float MaxScore(const std::vector<Candidate>& candidates) {
  float max = kMinusInfinity;
  for (const Candidate& c : candidates) max = std::max(max, c.score);
  return max;
}

// Sorts `items` by `better` as far as needed: until the masses of those sorted
// reach `target`. Returns how many that takes, the one that reaches it
// included, at most all.
template <typename Item, typename Better, typename Mass>
size_t SortUntilMass(std::vector<Item>& items, double target, Better better,
                     Mass mass) {
  double sum = 0.0;
  size_t begin = 0;
  for (size_t end = 64; begin < items.size(); end *= 8) {
    end = std::min(end, items.size());
    std::nth_element(items.begin() + begin, items.begin() + (end - 1),
                     items.end(), better);
    std::sort(items.begin() + begin, items.begin() + end, better);
    for (; begin < end; ++begin) {
      sum += mass(items[begin]);
      if (sum >= target) return begin + 1;
    }
  }
  return items.size();
}

bool IsBetter(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

// Cuts the candidates where the best have `target` of mass, e^(score - max).
void CutAtMass(double target, double max, std::vector<Candidate>& candidates) {
  candidates.resize(SortUntilMass(
      candidates, target, IsBetter,
      [&](const Candidate& c) { return std::exp(c.score - max); }));
}

std::vector<Candidate> KeepAtLeast(double bar, absl::Span<const float> scores) {
  std::vector<Candidate> kept;
  for (size_t id = 0; id < scores.size(); ++id) {
    if (scores[id] >= bar && scores[id] > kMinusInfinity) {
      kept.push_back({static_cast<int32_t>(id), scores[id]});
    }
  }
  return kept;
}

struct Deviation {
  Candidate candidate;
  double mass;
  double deviation;
};

}  // namespace

std::vector<Candidate> KeepTopK(absl::Span<const float> scores, int32_t k) {
  return KeepAtLeast(KthLargest(scores, k), scores);
}

std::vector<Candidate> KeepPossible(absl::Span<const float> scores) {
  return KeepAtLeast(kMinusInfinity, scores);
}

void KeepTopP(float top_p, std::vector<Candidate>& candidates) {
  const double max = MaxScore(candidates);
  double total = 0.0;
  for (const Candidate& c : candidates) total += std::exp(c.score - max);
  CutAtMass(top_p * total, max, candidates);
}

std::vector<Candidate> KeepTopP(float top_p, absl::Span<const float> scores) {
  const kernels::LogitKernels& kernels = kernels::CpuLogitKernels();
  const int64_t size = static_cast<int64_t>(scores.size());
  const float max = kernels.scan(scores.data(), size).max;
  const double total = kernels.exp_sums(scores.data(), size, max).sum;
  // Ids with so little mass that all of them together do not reach what top_p
  // cuts off need not be candidates: of tens of thousands, hundreds remain.
  const double cut_mass = (1.0 - top_p) * total;
  const double bar = max + std::log(cut_mass / static_cast<double>(size));
  std::vector<Candidate> kept = KeepAtLeast(std::min<double>(bar, max), scores);
  CutAtMass(top_p * total, max, kept);
  return kept;
}

void KeepTypical(float typical_p, std::vector<Candidate>& candidates) {
  const double max = MaxScore(candidates);
  double total = 0.0;
  double weighted = 0.0;
  std::vector<Deviation> deviations;
  deviations.reserve(candidates.size());
  for (const Candidate& c : candidates) {
    const double mass = std::exp(c.score - max);
    total += mass;
    weighted += mass * (c.score - max);
    deviations.push_back({c, mass, 0.0});
  }
  // -log p = log total - (score - max); the entropy is its mean. The difference
  // does not need log total.
  const double mean = weighted / total;
  for (Deviation& d : deviations) {
    d.deviation = std::abs(mean - (d.candidate.score - max));
  }
  const size_t num_kept = SortUntilMass(
      deviations, typical_p * total,
      [](const Deviation& a, const Deviation& b) {
        return a.deviation < b.deviation;
      },
      [](const Deviation& d) { return d.mass; });
  const double largest = deviations[num_kept - 1].deviation;
  candidates.clear();
  for (const Deviation& d : deviations) {
    if (d.deviation <= largest) candidates.push_back(d.candidate);
  }
}

}  // namespace drover
