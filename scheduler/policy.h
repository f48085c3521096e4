#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace drover {

// The scheduler's judgements, as functions of small values.

// Prompt tokens of one sequence in this step. 0 if the budget is spent.
int32_t ChunkTokens(int32_t remaining, int32_t budget_left);

struct AdmissionView {
  int32_t free_slots = 0;
  int32_t running = 0;
  int32_t max_batch_size = 0;
  int32_t budget_left = 0;
  int32_t free_blocks = 0;
  int32_t blocks_needed = 0;  // for every token known so far
};

// Whether the head of the queue may start now. The queue is strictly FIFO: when
// the head has to wait, so does everybody behind it, and nobody starves.
bool MayAdmit(const AdmissionView& view);

// Whom to preempt when blocks run out: the index of the sequence that arrived
// last, so that the oldest always finishes. `arrival_orders` is not empty.
size_t ChooseVictim(absl::Span<const uint64_t> arrival_orders);

}  // namespace drover
