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

std::vector<int32_t> IdsOf(const PromptPrefix& prefix) {
  constexpr int32_t kFirstId = 1'000'000'000;
  const size_t row_bytes =
      prefix.rows.size() / static_cast<size_t>(prefix.num_tokens);
  std::vector<int32_t> ids;
  for (size_t i = 0; i < prefix.rows.size(); i += row_bytes) {
    ids.push_back(kFirstId + static_cast<unsigned char>(prefix.rows[i]));
  }
  return ids;
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
  DROVER_RETURN_IF_ERROR(UpdatePrefixes(plan));
  for (const SequenceAdmission& admission : plan.admissions) {
    DROVER_RETURN_IF_ERROR(Admit(admission));
  }
  return absl::OkStatus();
}

absl::Status FakeShard::UpdatePrefixes(const BatchPlan& plan) {
  for (const int64_t handle : plan.prefix_drops) {
    for (const auto& [slot, state] : slots_) {
      if (state.prefix != handle) continue;
      return absl::InternalError(
          absl::StrCat("slot ", slot, " has prefix ", handle));
    }
    if (prefixes_.erase(handle) == 0) {
      return absl::InternalError(absl::StrCat("no prefix ", handle));
    }
  }
  for (const PrefixLoad& load : plan.prefix_loads) {
    if (load.handle <= 0 ||
        !prefixes_.emplace(load.handle, load.prefix).second) {
      return absl::InternalError(
          absl::StrCat("prefix ", load.handle, " again"));
    }
  }
  return absl::OkStatus();
}

absl::Status FakeShard::Admit(const SequenceAdmission& admission) {
  const int32_t slot = admission.slot.slot;
  if (slot < 0 || slot >= info_.num_slots || slots_.count(slot) > 0) {
    return absl::InternalError(
        absl::StrCat("admission into slot ", slot, ", which is not free"));
  }
  std::vector<int32_t> ids;
  if (admission.prefix != 0) {
    if (prefixes_.count(admission.prefix) == 0) {
      return absl::InternalError(
          absl::StrCat("prefix ", admission.prefix, " was not loaded"));
    }
    ids = IdsOf(*prefixes_.at(admission.prefix));
  }
  ids.insert(ids.end(), admission.token_ids.begin(), admission.token_ids.end());
  const auto num_ids = static_cast<int32_t>(ids.size());
  slots_[slot] = {.ref = admission.slot,
                  .ids = std::move(ids),
                  .prefix = admission.prefix,
                  .num_prompt = num_ids - admission.num_generated,
                  .sampling = admission.sampling};
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
