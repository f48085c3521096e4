#include "tests/testing/fake_shard.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace drover::testing {

int32_t HashedToken(absl::Span<const int32_t> ids) {
  uint64_t hash = 1469598103934665603ULL;
  for (const int32_t id : ids) {
    hash = (hash ^ static_cast<uint64_t>(id)) * 1099511628211ULL;
  }
  return static_cast<int32_t>(3 + hash % 997);
}

std::vector<int32_t> Continuation(const NextToken& model,
                                  std::vector<int32_t> prompt, int num_tokens) {
  std::vector<int32_t> generated;
  for (int i = 0; i < num_tokens; ++i) {
    generated.push_back(model(prompt));
    prompt.push_back(generated.back());
  }
  return generated;
}

FakeShard::FakeShard(const ExecutorInfo& info, NextToken model)
    : info_(info), model_(std::move(model)) {}

absl::Status FakeShard::Apply(const BatchPlan& plan) {
  if (plan.step != ++last_step_) {
    return absl::InternalError(
        absl::StrCat("step ", plan.step, " after ", last_step_ - 1));
  }
  for (const SlotRef& ref : plan.releases) {
    const auto it = slots_.find(ref.slot);
    if (it == slots_.end() || it->second.ref != ref) {
      return absl::InternalError(
          absl::StrCat("release of slot ", ref.slot, ", which is not live"));
    }
    slots_.erase(it);
  }
  for (const SequenceAdmission& admission : plan.admissions) {
    const int32_t slot = admission.slot.slot;
    if (slot < 0 || slot >= info_.num_slots || slots_.count(slot) > 0) {
      return absl::InternalError(
          absl::StrCat("admission into slot ", slot, ", which is not free"));
    }
    slots_[slot] = {
        .ref = admission.slot,
        .ids = admission.token_ids,
        .num_prompt = static_cast<int32_t>(admission.token_ids.size()) -
                      admission.num_generated,
        .sampling = admission.sampling};
  }
  return absl::OkStatus();
}

absl::StatusOr<StepResult> FakeShard::Run(const BatchPlan& plan) {
  DROVER_RETURN_IF_ERROR(Apply(plan));
  std::map<int32_t, SequenceWork> work;
  for (const auto& [slot, state] : slots_) work[slot] = {.slot = slot};
  int32_t previous = -1;
  for (const SequenceWork& named : plan.work) {
    if (named.slot <= previous || work.count(named.slot) == 0) {
      return absl::InternalError(
          absl::StrCat("work for slot ", named.slot, " out of order or dead"));
    }
    previous = named.slot;
    work[named.slot] = named;
  }
  StepResult result = {.step = plan.step};
  int32_t num_tokens = 0;
  for (const auto& [slot, item] : work) {
    num_tokens += item.num_tokens;
    DROVER_ASSIGN_OR_RETURN(SequenceResult answer,
                            RunSlot(slots_.at(slot), item));
    if (!answer.tokens.empty() || !answer.prompt_scores.empty()) {
      result.sequences.push_back(std::move(answer));
    }
  }
  if (num_tokens < 1 || num_tokens > info_.max_step_tokens) {
    return absl::InternalError(
        absl::StrCat("a plan of ", num_tokens, " tokens"));
  }
  return result;
}

absl::StatusOr<SequenceResult> FakeShard::RunSlot(SlotState& slot,
                                                  const SequenceWork& work) {
  for (const int32_t block : work.new_blocks) {
    if (block <= kScratchBlock || block >= info_.num_blocks) {
      return absl::InternalError(absl::StrCat("no block ", block));
    }
    slot.blocks.push_back(block);
  }
  const int32_t begin = slot.num_computed;
  const int32_t end = begin + work.num_tokens;
  const auto num_known = static_cast<int32_t>(slot.ids.size());
  if (end > num_known ||
      end > static_cast<int32_t>(slot.blocks.size()) * kBlockSize) {
    return absl::InternalError(absl::StrCat("slot ", slot.ref.slot,
                                            " runs past its tokens or blocks"));
  }
  for (int32_t position = begin; position < end; ++position) {
    const auto block = slot.blocks[static_cast<size_t>(position / kBlockSize)];
    auto& cells = kv_[block];
    cells.resize(kBlockSize);
    cells[static_cast<size_t>(position % kBlockSize)] = {
        .id = slot.ids[static_cast<size_t>(position)], .position = position};
  }
  slot.num_computed = end;
  DROVER_RETURN_IF_ERROR(CheckKv(slot));

  SequenceResult answer = {.slot = slot.ref};
  if (slot.sampling.prompt_scores || slot.sampling.prompt_top_n > 0) {
    const int32_t last = std::min(end + 1, slot.num_prompt);
    for (int32_t position = begin + 1; position < last; ++position) {
      answer.prompt_scores.push_back(
          {.id = slot.ids[static_cast<size_t>(position)],
           .logprob = -static_cast<float>(position),
           .rank = 1});
    }
  }
  if (work.num_tokens > 0 && work.sample) {
    if (end != num_known) {
      return absl::InternalError("sampled before the end of the known tokens");
    }
    answer.tokens.push_back({.id = model_(slot.ids)});
    slot.ids.push_back(answer.tokens.front().id);
  }
  return answer;
}

absl::Status FakeShard::CheckKv(const SlotState& slot) const {
  for (int32_t position = 0; position < slot.num_computed; ++position) {
    const auto block = slot.blocks[static_cast<size_t>(position / kBlockSize)];
    const Cell& cell =
        kv_.at(block)[static_cast<size_t>(position % kBlockSize)];
    if (cell.position != position ||
        cell.id != slot.ids[static_cast<size_t>(position)]) {
      return absl::InternalError(
          absl::StrCat("block ", block, " no longer holds position ", position,
                       " of slot ", slot.ref.slot));
    }
  }
  return absl::OkStatus();
}

}  // namespace drover::testing
