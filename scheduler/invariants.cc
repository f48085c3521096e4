#include "scheduler/invariants.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "scheduler/batch_plan.h"
#include "scheduler/block_allocator.h"

namespace drover {
namespace {

absl::Status CheckBlocks(const SchedulerSnapshot& snapshot) {
  std::set<int32_t> held;
  const auto hold = [&](int32_t block) -> absl::Status {
    if (block <= kScratchBlock || block >= snapshot.num_blocks) {
      return absl::InternalError(absl::StrCat("block ", block, " is not ours"));
    }
    if (!held.insert(block).second) {
      return absl::InternalError(absl::StrCat("block ", block, " held twice"));
    }
    return absl::OkStatus();
  };
  for (const int32_t block : snapshot.retiring_blocks) {
    DROVER_RETURN_IF_ERROR(hold(block));
  }
  for (const SequenceSnapshot& sequence : snapshot.sequences) {
    for (const int32_t block : sequence.blocks) {
      DROVER_RETURN_IF_ERROR(hold(block));
    }
  }
  const int32_t counted =
      static_cast<int32_t>(held.size()) + snapshot.num_free_blocks;
  if (counted != snapshot.num_blocks - 1) {
    return absl::InternalError(absl::StrCat(
        "free + held = ", counted, " of ", snapshot.num_blocks - 1, " blocks"));
  }
  return absl::OkStatus();
}

absl::Status CheckSlots(const SchedulerSnapshot& snapshot) {
  std::set<int32_t> seen(snapshot.free_slots.begin(),
                         snapshot.free_slots.end());
  if (seen.size() != snapshot.free_slots.size()) {
    return absl::InternalError("a slot is free twice");
  }
  for (const SequenceSnapshot& sequence : snapshot.sequences) {
    if (!sequence.running) continue;
    if (sequence.slot < 0 || sequence.slot >= snapshot.num_slots ||
        !seen.insert(sequence.slot).second) {
      return absl::InternalError(
          absl::StrCat("request ", sequence.id, " holds slot ", sequence.slot,
                       ", which is free, taken or none"));
    }
  }
  if (static_cast<int32_t>(seen.size()) != snapshot.num_slots) {
    return absl::InternalError("a slot is lost");
  }
  return absl::OkStatus();
}

absl::Status CheckSequence(const SequenceSnapshot& sequence, bool queued) {
  const auto violation = [&](const char* what) {
    return absl::InternalError(
        absl::StrCat("request ", sequence.id, ": ", what));
  };
  if (sequence.running == queued) {
    return violation("must be either running or in the queue");
  }
  if (!sequence.running && !sequence.blocks.empty()) {
    return violation("holds blocks without running");
  }
  const auto num_blocks = static_cast<int32_t>(sequence.blocks.size());
  if (BlockAllocator::BlocksFor(sequence.num_planned) > num_blocks) {
    return violation("has planned past its blocks");
  }
  if (sequence.running &&
      sequence.num_planned >
          sequence.num_known + sequence.num_samples_in_flight) {
    return violation("has planned past its tokens");
  }
  if (sequence.num_samples_in_flight < 0 ||
      sequence.num_generated + sequence.num_samples_in_flight >
          sequence.max_new_tokens) {
    return violation("samples past max_new_tokens");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateInvariants(const SchedulerSnapshot& snapshot) {
  DROVER_RETURN_IF_ERROR(CheckBlocks(snapshot));
  DROVER_RETURN_IF_ERROR(CheckSlots(snapshot));
  if (snapshot.num_plans_in_flight > snapshot.max_plans_in_flight) {
    return absl::InternalError("too many plans in flight");
  }
  if (snapshot.num_plans_in_flight == 0 && !snapshot.retiring_blocks.empty()) {
    return absl::InternalError("blocks wait for plans that are not in flight");
  }
  for (const SequenceSnapshot& sequence : snapshot.sequences) {
    const bool queued = std::count(snapshot.waiting.begin(),
                                   snapshot.waiting.end(), sequence.id) == 1;
    DROVER_RETURN_IF_ERROR(CheckSequence(sequence, queued));
  }
  if (snapshot.waiting.size() > snapshot.sequences.size()) {
    return absl::InternalError("the queue holds a request that is gone");
  }
  return absl::OkStatus();
}

}  // namespace drover
