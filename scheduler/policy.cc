#include "scheduler/policy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "scheduler/step_forecast.h"

namespace drover {

int32_t ChunkTokens(int32_t remaining, int32_t budget_left) {
  return std::max(0, std::min(remaining, budget_left));
}

int32_t SpreadPromptTokens(const PromptView& view) {
  // Rows at which a large GPU begins to multiply for longer than it reads.
  constexpr int32_t kCheapRows = 128;
  constexpr double kManyRows = 3 * kCheapRows;
  constexpr double kMaxSteps = 96;  // for the backlog
  // If nobody could decode; and the most, where more than a few do.
  constexpr double kIdleTokens = 1024;
  constexpr double kMostIdleTokens = 256;
  constexpr double kFewDecodes = 8;
  const double demand = view.num_sequences * view.prompts_to_output;
  const double share =
      std::clamp((view.num_decodes + demand) / kManyRows, 1.0, 2.0);
  const double idle_tokens = std::min(
      kIdleTokens * view.num_behind / std::max(view.num_sequences, 1),
      kMostIdleTokens * std::max(1.0, kFewDecodes / (view.num_decodes + 1)));
  const double tokens =
      std::max({std::ceil(share * demand), idle_tokens,
                std::ceil(static_cast<double>(view.backlog) / kMaxSteps)});
  constexpr double kMost = std::numeric_limits<int32_t>::max() / 2;
  const int32_t least =
      std::max({kLeastChunkTokens, kCheapRows - view.num_decodes,
                static_cast<int32_t>(std::min(tokens, kMost))});
  return RoundUpToTiles(view.num_decodes + least) - view.num_decodes;
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
