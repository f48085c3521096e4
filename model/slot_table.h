#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/sampler.h"
#include "scheduler/batch_plan.h"
#include "scheduler/prompt_prefix.h"

namespace drover {

// One sequence's state on the device.
struct Slot {
  SlotRef ref;
  SharedPrefix prefix;  // null: none
  // By position: a pad token for each row of the prefix, prompt, generated.
  std::vector<int32_t> token_ids;
  int32_t num_prompt = 0;       // prefix included
  int32_t num_admitted = 0;     // tokens known when it was admitted
  int32_t num_computed = 0;     // tokens whose KV is in the cache
  std::vector<int32_t> blocks;  // of the KV cache, in order of position
  SamplingParams sampling;
  std::optional<SequenceSampler> sampler;
  // The logits were not finite: nothing follows the last token any more.
  bool failed = false;

  int32_t num_prefix() const {
    return prefix == nullptr ? 0 : prefix->num_tokens;
  }
  int32_t num_known() const { return static_cast<int32_t>(token_ids.size()); }
  int32_t num_generated() const { return num_known() - num_prompt; }
  bool wants_scores() const {
    return sampling.token_scores || sampling.top_n > 0;
  }
  bool wants_prompt_scores() const {
    return sampling.prompt_scores || sampling.prompt_top_n > 0;
  }

  // `id` continues the sequence.
  void Append(int32_t id);
};

// What a step does with one slot: the tokens at num_computed ...
// num_computed + num_tokens - 1.
struct SlotWork {
  Slot* slot = nullptr;
  int32_t num_tokens = 0;
  bool sample = false;

  // Of these, the first come from the slot's prefix: their rows, one after
  // another; empty if there are none. Borrowed from the prefix.
  std::string_view prefix_rows() const;
};

// The sequences on the device. A plan's decode takes the slot's newest token,
// so that it can be submitted before anybody else knows that token.
//
// Not thread-safe.
class SlotTable {
 public:
  struct Limits {
    int32_t num_slots = 0;
    int32_t num_blocks = 0;
    int32_t max_step_tokens = 0;
    int32_t max_sequence_length = 0;
    int32_t vocab_size = 0;
    int32_t pad_id = 0;
    int64_t row_bytes = 0;  // of a prefix
  };

  // `eos_ids` outlives the table.
  SlotTable(const Limits& limits, absl::Span<const int32_t> eos_ids);

  // Releases, admits, hands out blocks, and says what to run, in ascending
  // slot; slots that sit out are left out. The pointers are good until the next
  // call. A plan that breaks the contract is an INTERNAL error that names the
  // step and what is wrong; the table must not be used after it.
  absl::StatusOr<std::vector<SlotWork>> Apply(const BatchPlan& plan);

 private:
  absl::Status Release(const SlotRef& ref);
  absl::Status UpdatePrefixes(const BatchPlan& plan);
  absl::Status LoadPrefix(const PrefixLoad& load);
  absl::Status Admit(const SequenceAdmission& admission);
  absl::Status CheckAdmission(const SequenceAdmission& admission,
                              const PromptPrefix* prefix) const;
  absl::Status AddBlocks(const SequenceWork& work, Slot& slot) const;
  absl::Status CheckWork(const SlotWork& work) const;
  absl::StatusOr<std::vector<SlotWork>> MergeWork(const BatchPlan& plan);
  Slot* FindLive(int32_t index);

  const Limits limits_;
  const absl::Span<const int32_t> eos_ids_;
  std::vector<std::optional<Slot>> slots_;    // empty: free
  std::map<int64_t, SharedPrefix> prefixes_;  // by handle
};

}  // namespace drover
