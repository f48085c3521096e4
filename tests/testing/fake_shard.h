#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "scheduler/batch_plan.h"
#include "scheduler/executor.h"

namespace drover::testing {

// Which token follows these ids.
using NextToken = std::function<int32_t(absl::Span<const int32_t> ids)>;

// A model whose next token depends on everything before it, so that a token
// lost, repeated or given to the wrong sequence changes all that follow.
// Never answers an id below 3 (BOS and EOS live there).
int32_t HashedToken(absl::Span<const int32_t> ids);

// What HashedToken, or another model, generates after `prompt`.
std::vector<int32_t> Continuation(const NextToken& model,
                                  std::vector<int32_t> prompt, int num_tokens);

// What a FakeShard's model sees of a prefix: an id for each row, by its first
// byte, that no token has.
std::vector<int32_t> IdsOf(const PromptPrefix& prefix);

// The device side of the contract without a device: keeps slots, block tables
// and KV positions, refuses every plan that breaks the contract, and samples
// from `model`. The KV is modelled too: each block remembers which id was
// written at which position, and attention reads it back, so a block reused too
// early is noticed.
class FakeShard {
 public:
  explicit FakeShard(const ExecutorInfo& info, NextToken model = HashedToken);

  absl::StatusOr<StepResult> Run(const BatchPlan& plan);

  int num_live_slots() const { return static_cast<int>(slots_.size()); }
  int num_prefixes() const { return static_cast<int>(prefixes_.size()); }

 private:
  struct SlotState {
    SlotRef ref;
    std::vector<int32_t> ids;
    int64_t prefix = 0;  // handle
    int32_t num_prompt = 0;
    int32_t num_computed = 0;
    std::vector<int32_t> blocks;
    SamplingParams sampling;
  };
  struct Cell {
    int32_t id = -1;
    int32_t position = -1;
  };

  absl::Status Apply(const BatchPlan& plan);
  absl::Status UpdatePrefixes(const BatchPlan& plan);
  absl::Status Admit(const SequenceAdmission& admission);
  absl::StatusOr<SequenceResult> RunSlot(SlotState& slot,
                                         const SequenceWork& work);
  absl::Status CheckKv(const SlotState& slot) const;

  const ExecutorInfo info_;
  const NextToken model_;
  uint64_t last_step_ = 0;
  std::map<int32_t, SlotState> slots_;
  std::map<int64_t, SharedPrefix> prefixes_;  // by handle
  std::map<int32_t, std::vector<Cell>> kv_;   // by block
};

}  // namespace drover::testing
