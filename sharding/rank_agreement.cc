#include "sharding/rank_agreement.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/strings.h"

namespace drover {
namespace {

std::string Describe(const SequenceResult& sequence) {
  if (sequence.tokens.empty()) return "no token";
  const TokenScore& token = sequence.tokens.front();
  return StrCat("token ", token.id, " with log-probability ", token.logprob);
}

// The first sequence that differs.
std::string DescribeDifference(const std::vector<SequenceResult>& a,
                               const std::vector<SequenceResult>& b) {
  const auto [in_a, in_b] =
      std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (in_a == a.end() || in_b == b.end() || in_a->slot != in_b->slot) {
    return StrCat(a.size(), " and ", b.size(), " sequences");
  }
  return StrCat("slot ", in_a->slot.slot, ": ", Describe(*in_a), " and ",
                Describe(*in_b));
}

}  // namespace

absl::Status RankAgreement::Add(size_t rank, const StepResult& result) {
  if (num_ranks_ == 1) return absl::OkStatus();
  absl::MutexLock lock(&mutex_);
  const auto [place, is_first] =
      open_.try_emplace(result.step, Answer{.result = result, .rank = rank});
  if (is_first) return absl::OkStatus();
  Answer& first = place->second;
  if (first.result.sequences != result.sequences) {
    return absl::InternalError(
        StrCat("step ", result.step, ": ranks ", first.rank, " and ", rank,
               " answer differently: ",
               DescribeDifference(first.result.sequences, result.sequences)));
  }
  if (++first.num_ranks == num_ranks_) open_.erase(place);
  return absl::OkStatus();
}

}  // namespace drover
