#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "scheduler/prompt_prefix.h"
#include "scheduler/sampling_params.h"

namespace drover {

// The contract between scheduler and shard: plans go down, results come back.
// The scheduler owns decisions (slots, counts, block ids), the shard owns state
// on the device (tokens, positions, block tables, sampling state, KV). Only
// differences travel.

// Tokens per KV block.
inline constexpr int32_t kBlockSize = 16;
// Block 0 belongs to nobody: padded rows write there.
inline constexpr int32_t kScratchBlock = 0;

// A sequence's place on the device. `generation` counts the occupants of a
// slot, so that a result for the previous one is recognised and dropped.
struct SlotRef {
  int32_t slot = 0;
  uint32_t generation = 0;

  bool operator==(const SlotRef&) const = default;
};

// From now on the executor has these rows under a handle of the scheduler's,
// which is above 0 and never used again.
struct PrefixLoad {
  int64_t handle = 0;
  SharedPrefix prefix;  // not null

  bool operator==(const PrefixLoad& other) const {
    return handle == other.handle && *prefix == *other.prefix;
  }
};

struct SequenceAdmission {
  SlotRef slot;
  // A loaded prefix, whose rows take the first positions; 0: none. Positions
  // count from there: the first of token_ids has that of the prefix's length.
  int64_t prefix = 0;
  // Prompt and, when the sequence was preempted or its shard restarted, every
  // token generated so far; all of it is (re)computed.
  std::vector<int32_t> token_ids;
  int32_t num_generated = 0;  // how many of token_ids, at the end
  SamplingParams sampling;

  bool operator==(const SequenceAdmission&) const = default;
};

struct SequenceWork {
  int32_t slot = 0;
  // 0: sits this step out. 1 at the end of the known tokens: decode. Else a
  // prefill chunk.
  int32_t num_tokens = 1;
  std::vector<int32_t> new_blocks;  // appended to the slot's block table
  bool sample = true;               // false: a chunk that is not the last

  bool operator==(const SequenceWork&) const = default;
};

// One step. Applied in the order of the fields. Every live slot (admitted, not
// released) that `work` does not name decodes one token and samples.
struct BatchPlan {
  uint64_t step = 0;  // counts from 1, without gaps
  std::vector<SlotRef> releases;
  std::vector<int64_t> prefix_drops;  // handles; no live slot has them
  std::vector<PrefixLoad> prefix_loads;
  std::vector<SequenceAdmission> admissions;
  std::vector<SequenceWork> work;  // ascending slot, each at most once

  bool operator==(const BatchPlan&) const = default;
};

struct TopToken {
  int32_t id = 0;
  float logprob = 0.0f;

  bool operator==(const TopToken&) const = default;
};

// A token and what the model thought of it. logprob, rank and top are filled
// only if the sampling parameters ask.
struct TokenScore {
  int32_t id = 0;
  float logprob = 0.0f;
  int32_t rank = 0;           // 1 = best
  std::vector<TopToken> top;  // logprob descending, then id ascending

  bool operator==(const TokenScore&) const = default;
};

enum class SequenceStatus : uint8_t {
  kOk = 0,
  kNonFiniteLogits = 1,  // no token; the sequence cannot go on
};

struct SequenceResult {
  SlotRef slot;
  SequenceStatus status = SequenceStatus::kOk;
  std::vector<TokenScore> tokens;  // 0 or 1 today; more with speculation
  // For a chunk over positions [begin, end) of a prompt whose scores were asked
  // for: the scores of the prompt tokens at begin+1 .. min(end, prompt-1), each
  // under the prediction made one position earlier. Position 0 has none. At the
  // positions of a prefix it is the model's pad token that is scored.
  std::vector<TokenScore> prompt_scores;

  bool operator==(const SequenceResult&) const = default;
};

struct StepResult {
  uint64_t step = 0;
  // Ascending slot; only sequences that sampled or have prompt scores.
  std::vector<SequenceResult> sequences;
  absl::Duration forward_time;  // to logits
  absl::Duration total_time;

  bool operator==(const StepResult&) const = default;
};

}  // namespace drover
