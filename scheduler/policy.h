#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace drover {

// The scheduler's judgements, as functions of small values.

// Of prompts in a step, however little it may hold, so that they get on.
inline constexpr int32_t kLeastChunkTokens = 64;

// Prompt tokens of one sequence in this step. 0 if the budget is spent.
int32_t ChunkTokens(int32_t remaining, int32_t budget_left);

struct PromptView {
  int32_t num_decodes = 0;       // in this step
  int32_t num_sequences = 0;     // that run, or will next
  double prompts_to_output = 0;  // tokens of prompts for one of output, of late
  int32_t num_behind = 0;        // of the sequences, those with some to compute
  int64_t backlog = 0;           // all tokens of these, also computed ones
};

// Prompt tokens of a step in which sequences decode, if prompts are spread over
// such steps: as many as it takes to keep up. If the sequences go on as others
// did, each step brings every one of them a token of output, and for it
// `prompts_to_output` of prompts must be computed in time. At least a 96th of
// the backlog, so that a long prompt, whose tokens stay part of it until it is
// complete, comes in even steps. A few rows cost hardly more than none while
// reading the weights is most of the work, so these are always given. Where
// rows are many, each costs the same in any step: then half of the steps do
// without. And the larger the part of the sequences that cannot decode yet, and
// the fewer those that wait for the step, the more. With the decodes they fill
// tiles.
int32_t SpreadPromptTokens(const PromptView& view);

// A sequence's tokens now, and those that it is expected to get.
struct Growth {
  int32_t num_tokens = 0;
  int32_t num_to_come = 0;
};

bool StaysLonger(const Growth& a, const Growth& b);

// Puts `growth` into `running`, which is and stays in the order of StaysLonger.
void InsertGrowth(const Growth& growth, std::vector<Growth>& running);

// Tokens in the cache at the worst moment to come: each sequence gets one token
// a step and leaves when it has got what was expected, so the worst moments are
// those before one leaves. (Gong et al., "Past-Future Scheduler for LLM Serving
// under SLA Guarantees", 2025.) `running` is in the order of StaysLonger.
int64_t PeakTokens(absl::Span<const Growth> running);

struct AdmissionView {
  int32_t free_slots = 0;
  int32_t running = 0;
  int32_t max_batch_size = 0;
  int32_t budget_left = 0;
  int32_t free_blocks = 0;
  int32_t blocks_needed = 0;  // for every token known so far
  int64_t peak_tokens = 0;    // if it starts now
  int64_t cache_tokens = 0;
};

// Whether one of the queue may start now, if those before it do: not if
// somebody would be expected to be preempted for it, unless it would run alone.
// When one has to wait for a slot or for blocks, so does everybody behind it,
// and nobody starves.
bool MayAdmit(const AdmissionView& view);

// Whom to preempt when blocks run out: the index of the sequence that arrived
// last, so that the oldest always finishes. `arrival_orders` is not empty.
size_t ChooseVictim(absl::Span<const uint64_t> arrival_orders);

}  // namespace drover
