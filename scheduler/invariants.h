#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "scheduler/request.h"

namespace drover {

// The scheduler's state as values, for the validator.
struct SequenceSnapshot {
  RequestId id = 0;
  bool running = false;
  int32_t slot = -1;  // -1 while waiting
  int32_t num_known = 0;
  int32_t num_planned = 0;
  int32_t num_generated = 0;
  int32_t num_samples_in_flight = 0;
  int32_t max_new_tokens = 0;
  std::vector<int32_t> blocks;
};

struct SchedulerSnapshot {
  int32_t num_slots = 0;
  int32_t num_blocks = 0;  // scratch included
  int32_t num_free_blocks = 0;
  int32_t num_plans_in_flight = 0;
  int32_t max_plans_in_flight = 0;
  std::vector<int32_t> retiring_blocks;
  std::vector<int32_t> free_slots;
  std::vector<RequestId> waiting;
  std::vector<SequenceSnapshot> sequences;
};

// What must hold between any two calls: every block is free, retiring or held
// by exactly one running sequence; every slot is free or held once; nobody
// holds blocks without running or has planned past them; token counts stay
// within the request. INTERNAL names the first violation.
absl::Status ValidateInvariants(const SchedulerSnapshot& snapshot);

}  // namespace drover
