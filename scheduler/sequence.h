#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/request.h"

namespace drover {

// A request under way, as the scheduler sees it.
//
//            Admit                      end (EOS, limit, stop, cancel, failure)
//   waiting ───────► running ───────────────────────────────────────► gone
//      ▲                │
//      └── Preempt ─────┘  (re-enters when its results in flight are in)
//
// Plans run ahead of results, so progress is counted twice: what was planned,
// and what came back.
struct Sequence {
  RequestId id = 0;
  uint64_t arrival_order = 0;
  Request request;

  std::vector<int32_t> generated;  // came back
  int32_t num_samples_in_flight = 0;

  bool running = false;
  bool was_scheduled = false;  // RequestScheduled was sent
  SlotRef slot;                // valid while running
  int32_t num_admitted = 0;    // tokens known when it was admitted
  int32_t num_planned = 0;     // positions whose KV is planned
  std::vector<int32_t> blocks;

  int32_t num_prompt_scores_sent = 0;

  int32_t num_prefix() const {
    return request.prefix == nullptr ? 0 : request.prefix->num_tokens;
  }
  // Positions before the first generated token.
  int32_t num_prompt() const {
    return num_prefix() + static_cast<int32_t>(request.prompt_ids.size());
  }
  int32_t num_generated() const {
    return static_cast<int32_t>(generated.size());
  }
  int32_t num_known() const { return num_prompt() + num_generated(); }
  bool is_prefilling() const { return num_planned < num_admitted; }
  // Every token it may have is planned; only results are outstanding.
  bool is_exhausted() const {
    return num_generated() + num_samples_in_flight >= request.max_new_tokens;
  }
};

}  // namespace drover
