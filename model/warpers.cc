#include "model/warpers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/distribution.h"

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

// Drops what has so little mass that all such candidates together do not reach
// what top_p cuts off: of tens of thousands, a few hundred remain.
void DropNegligible(double max, double cut_mass,
                    std::vector<Candidate>& candidates) {
  const double bar =
      max + std::log(cut_mass / static_cast<double>(candidates.size()));
  std::erase_if(candidates, [&](const Candidate& c) {
    return c.score < bar && c.score < max;
  });
}

struct Deviation {
  Candidate candidate;
  double mass;
  double deviation;
};

}  // namespace

std::vector<Candidate> KeepTopK(absl::Span<const float> scores, int32_t k) {
  const float threshold = KthLargest(scores, k);
  std::vector<Candidate> kept;
  for (size_t id = 0; id < scores.size(); ++id) {
    if (scores[id] >= threshold && scores[id] > kMinusInfinity) {
      kept.push_back({static_cast<int32_t>(id), scores[id]});
    }
  }
  return kept;
}

std::vector<Candidate> KeepPossible(absl::Span<const float> scores) {
  return KeepTopK(scores, std::numeric_limits<int32_t>::max());
}

void KeepTopP(float top_p, std::vector<Candidate>& candidates) {
  const double max = MaxScore(candidates);
  const auto mass = [&](const Candidate& c) { return std::exp(c.score - max); };
  double total = 0.0;
  for (const Candidate& c : candidates) total += mass(c);
  DropNegligible(max, (1.0 - top_p) * total, candidates);
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score > b.score : a.id < b.id;
  };
  candidates.resize(SortUntilMass(candidates, top_p * total, better, mass));
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
