#include "scheduler/policy.h"

#include <algorithm>

#include "base/check.h"

namespace drover {

int32_t ChunkTokens(int32_t remaining, int32_t budget_left) {
  return std::max(0, std::min(remaining, budget_left));
}

bool MayAdmit(const AdmissionView& view) {
  return view.free_slots > 0 && view.running < view.max_batch_size &&
         view.budget_left > 0 && view.blocks_needed <= view.free_blocks;
}

size_t ChooseVictim(absl::Span<const uint64_t> arrival_orders) {
  DROVER_CHECK(!arrival_orders.empty());
  return static_cast<size_t>(
      std::max_element(arrival_orders.begin(), arrival_orders.end()) -
      arrival_orders.begin());
}

}  // namespace drover
