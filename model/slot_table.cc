#include "model/slot_table.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace drover {
namespace {

absl::Status SlotError(int32_t slot, const std::string& what) {
  return absl::InternalError(absl::StrCat("slot ", slot, " ", what));
}

}  // namespace

SlotTable::SlotTable(const Limits& limits, absl::Span<const int32_t> eos_ids)
    : limits_(limits),
      eos_ids_(eos_ids),
      slots_(static_cast<size_t>(limits.num_slots)) {}

absl::StatusOr<std::vector<SlotWork>> SlotTable::Apply(const BatchPlan& plan) {
  for (const SlotRef& ref : plan.releases) {
    DROVER_RETURN_IF_ERROR(Release(ref));
  }
  DROVER_RETURN_IF_ERROR(UpdatePrefixes(plan));
  for (const SequenceAdmission& admission : plan.admissions) {
    DROVER_RETURN_IF_ERROR(Admit(admission));
  }
  DROVER_ASSIGN_OR_RETURN(std::vector<SlotWork> work, MergeWork(plan));
  int64_t num_tokens = 0;
  for (const SlotWork& item : work) {
    DROVER_RETURN_IF_ERROR(CheckWork(item));
    num_tokens += item.num_tokens;
  }
  if (num_tokens > limits_.max_step_tokens) {
    return absl::InternalError(
        absl::StrCat("the plan runs ", num_tokens, " tokens, more than the ",
                     limits_.max_step_tokens, " of a step"));
  }
  return work;
}

Slot* SlotTable::FindLive(int32_t index) {
  if (index < 0 || index >= limits_.num_slots) return nullptr;
  std::optional<Slot>& slot = slots_[static_cast<size_t>(index)];
  return slot.has_value() ? &*slot : nullptr;
}

absl::Status SlotTable::Release(const SlotRef& ref) {
  Slot* slot = FindLive(ref.slot);
  if (slot == nullptr || slot->ref != ref) {
    return SlotError(ref.slot, absl::StrCat("of generation ", ref.generation,
                                            " is released but not live"));
  }
  slots_[static_cast<size_t>(ref.slot)].reset();
  return absl::OkStatus();
}

absl::Status SlotTable::UpdatePrefixes(const BatchPlan& plan) {
  for (const int64_t handle : plan.prefix_drops) {
    if (prefixes_.erase(handle) == 0) {
      return absl::InternalError(
          absl::StrCat("prefix ", handle, " is dropped but not loaded"));
    }
  }
  for (const PrefixLoad& load : plan.prefix_loads) {
    DROVER_RETURN_IF_ERROR(LoadPrefix(load));
  }
  return absl::OkStatus();
}

absl::Status SlotTable::LoadPrefix(const PrefixLoad& load) {
  const PromptPrefix& prefix = *load.prefix;
  const auto num_bytes = static_cast<int64_t>(prefix.rows.size());
  if (prefix.num_tokens < 1 ||
      num_bytes != prefix.num_tokens * limits_.row_bytes) {
    return absl::InternalError(
        absl::StrCat("prefix ", load.handle, " has ", num_bytes, " bytes for ",
                     prefix.num_tokens, " rows, each of ", limits_.row_bytes));
  }
  if (load.handle <= 0 || !prefixes_.emplace(load.handle, load.prefix).second) {
    return absl::InternalError(
        absl::StrCat("prefix ", load.handle, " is loaded twice, or is none"));
  }
  return absl::OkStatus();
}

absl::Status SlotTable::CheckAdmission(const SequenceAdmission& admission,
                                       const PromptPrefix* prefix) const {
  const int32_t index = admission.slot.slot;
  const auto num_ids = static_cast<int64_t>(admission.token_ids.size());
  const int64_t num_prefix = prefix == nullptr ? 0 : prefix->num_tokens;
  if (index < 0 || index >= limits_.num_slots) {
    return SlotError(index, absl::StrCat("is admitted, but there are only ",
                                         limits_.num_slots));
  }
  if (slots_[static_cast<size_t>(index)].has_value()) {
    return SlotError(index, "is admitted but already live");
  }
  if (admission.prefix != 0 && prefix == nullptr) {
    return SlotError(index,
                     absl::StrCat("is admitted with prefix ", admission.prefix,
                                  ", which is not loaded"));
  }
  const int64_t max_ids = limits_.max_sequence_length - num_prefix;
  if (num_ids == 0 || num_ids > max_ids) {
    return SlotError(index, absl::StrCat("is admitted with ", num_ids,
                                         " tokens, not 1 to ", max_ids));
  }
  if (admission.num_generated < 0 || admission.num_generated >= num_ids) {
    return SlotError(
        index, absl::StrCat("is admitted with ", num_ids, " tokens, ",
                            admission.num_generated, " of them generated"));
  }
  for (const int32_t id : admission.token_ids) {
    if (id < 0 || id >= limits_.vocab_size) {
      return SlotError(index, absl::StrCat("is admitted with token ", id,
                                           ", outside the vocabulary of ",
                                           limits_.vocab_size));
    }
  }
  return absl::OkStatus();
}

absl::Status SlotTable::Admit(const SequenceAdmission& admission) {
  const auto found = prefixes_.find(admission.prefix);
  const SharedPrefix prefix =
      found == prefixes_.end() ? nullptr : found->second;
  DROVER_RETURN_IF_ERROR(CheckAdmission(admission, prefix.get()));
  Slot& slot = slots_[static_cast<size_t>(admission.slot.slot)].emplace();
  slot.ref = admission.slot;
  // Room for the whole sequence, so that no step reallocates.
  slot.token_ids.reserve(static_cast<size_t>(limits_.max_sequence_length) + 1);
  slot.prefix = prefix;
  slot.token_ids.assign(static_cast<size_t>(slot.num_prefix()), limits_.pad_id);
  slot.token_ids.insert(slot.token_ids.end(), admission.token_ids.begin(),
                        admission.token_ids.end());
  slot.num_admitted = slot.num_known();
  slot.num_prompt = slot.num_admitted - admission.num_generated;
  slot.sampling = admission.sampling;
  slot.sampler.emplace(admission.sampling, eos_ids_, limits_.vocab_size);
  // What stands for a prefix is no token: penalties do not see it.
  slot.sampler->Observe(admission.token_ids);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SlotWork>> SlotTable::MergeWork(
    const BatchPlan& plan) {
  std::vector<SlotWork> merged;
  auto named = plan.work.begin();
  for (int32_t index = 0; index < limits_.num_slots; ++index) {
    const bool is_named = named != plan.work.end() && named->slot == index;
    Slot* slot = FindLive(index);
    if (slot == nullptr) {
      if (is_named) return SlotError(index, "has work but is not live");
      continue;
    }
    SlotWork work = {.slot = slot, .num_tokens = 1, .sample = true};
    if (is_named) {
      DROVER_RETURN_IF_ERROR(AddBlocks(*named, *slot));
      work.num_tokens = named->num_tokens;
      work.sample = named->sample;
      ++named;
    }
    if (work.num_tokens != 0) merged.push_back(work);
  }
  if (named != plan.work.end()) {
    return SlotError(named->slot, "is out of order or out of range");
  }
  return merged;
}

absl::Status SlotTable::AddBlocks(const SequenceWork& work, Slot& slot) const {
  for (const int32_t block : work.new_blocks) {
    if (block <= kScratchBlock || block >= limits_.num_blocks) {
      return SlotError(work.slot, absl::StrCat("is given block ", block,
                                               ", not one of 1 to ",
                                               limits_.num_blocks - 1));
    }
  }
  slot.blocks.insert(slot.blocks.end(), work.new_blocks.begin(),
                     work.new_blocks.end());
  return absl::OkStatus();
}

absl::Status SlotTable::CheckWork(const SlotWork& work) const {
  const Slot& slot = *work.slot;
  if (slot.failed) return absl::OkStatus();  // it has no newest token to run
  const int64_t end = int64_t{slot.num_computed} + work.num_tokens;
  const auto error = [&](const std::string& what) {
    return SlotError(slot.ref.slot,
                     absl::StrCat("runs ", work.num_tokens, " tokens after ",
                                  slot.num_computed, ", but ", what));
  };
  if (work.num_tokens < 0 || end > slot.num_known()) {
    return error(absl::StrCat("has ", slot.num_known()));
  }
  if (work.sample != (end == slot.num_known())) {
    return error(
        absl::StrCat(work.sample ? "samples before" : "does not sample at",
                     " the end of its ", slot.num_known()));
  }
  if (end > limits_.max_sequence_length) {
    return error(absl::StrCat("a sequence is at most ",
                              limits_.max_sequence_length, " long"));
  }
  if (end > static_cast<int64_t>(slot.blocks.size()) * kBlockSize) {
    return error(absl::StrCat("has only ", slot.blocks.size(), " blocks"));
  }
  return absl::OkStatus();
}

std::string_view SlotWork::prefix_rows() const {
  const int32_t num_rows =
      std::min(slot->num_prefix() - slot->num_computed, num_tokens);
  if (num_rows <= 0) return {};
  const std::string_view rows = slot->prefix->rows;
  const size_t row_bytes =
      rows.size() / static_cast<size_t>(slot->num_prefix());
  return rows.substr(static_cast<size_t>(slot->num_computed) * row_bytes,
                     static_cast<size_t>(num_rows) * row_bytes);
}

void Slot::Append(int32_t id) {
  token_ids.push_back(id);
  sampler->Observe({&id, 1});
}

}  // namespace drover
