#include "scheduler/policy.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace drover {

int32_t ChunkTokens(int32_t remaining, int32_t budget_left) {
  return std::max(0, std::min(remaining, budget_left));
}

double PromptTokensPerStep(int32_t num_prompt, int32_t num_output) {
  constexpr int32_t kShortOutput = 32;
  return static_cast<double>(num_prompt) / std::max(kShortOutput, num_output);
}

int32_t SpreadPromptTokens(int32_t num_decodes, double demand) {
  // Rows at which a large GPU begins to multiply for longer than it reads.
  constexpr int32_t kCheapRows = 128;
  constexpr double kManyRows = 3 * kCheapRows;
  const double share = std::clamp((num_decodes + demand) / kManyRows, 1.0, 2.0);
  return std::max({kLeastChunkTokens, kCheapRows - num_decodes,
                   static_cast<int32_t>(std::ceil(share * demand))});
}

bool StaysLonger(const Growth& a, const Growth& b) {
  return a.num_to_come > b.num_to_come;
}

void InsertGrowth(const Growth& growth, std::vector<Growth>& running) {
  running.insert(
      std::upper_bound(running.begin(), running.end(), growth, StaysLonger),
      growth);
}

int64_t PeakTokens(absl::Span<const Growth> running) {
  int64_t peak = 0;
  int64_t num_tokens = 0;  // of those that stay longest
  int64_t num_staying = 0;
  for (const Growth& growth : running) {
    num_tokens += growth.num_tokens;
    ++num_staying;
    peak = std::max(peak, num_tokens + num_staying * growth.num_to_come);
  }
  return peak;
}

bool MayAdmit(const AdmissionView& view) {
  return view.free_slots > 0 && view.running < view.max_batch_size &&
         view.budget_left > 0 && view.blocks_needed <= view.free_blocks &&
         (view.running == 0 || view.peak_tokens <= view.cache_tokens);
}

size_t ChooseVictim(absl::Span<const uint64_t> arrival_orders) {
  DROVER_CHECK(!arrival_orders.empty());
  return static_cast<size_t>(
      std::max_element(arrival_orders.begin(), arrival_orders.end()) -
      arrival_orders.begin());
}

}  // namespace drover
