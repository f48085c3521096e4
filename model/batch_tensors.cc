#include "model/batch_tensors.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace drover {

void BatchTensors::Build(absl::Span<const SlotWork> work) {
  Clear();
  for (size_t i = 0; i < work.size(); ++i) {
    if (work[i].slot->failed) continue;
    AddLogitRows(work[i], static_cast<int32_t>(i));
    AddSequence(work[i]);
  }
  AddBlockTables(work);
  AddPadding();
  PickWantedRows();
}

void BatchTensors::Clear() {
  token_ids.clear();
  positions.clear();
  kv_slots.clear();
  query_start.assign(1, 0);
  kv_len.clear();
  block_tables.clear();
  prefix_rows.clear();
  logit_rows.clear();
  wanted_rows.clear();
}

void BatchTensors::AddSequence(const SlotWork& work) {
  const std::string_view prefix = work.prefix_rows();
  if (!prefix.empty()) {
    prefix_rows.push_back({.first_row = num_rows(), .bytes = prefix});
  }
  const Slot& slot = *work.slot;
  const int32_t end = slot.num_computed + work.num_tokens;
  for (int32_t position = slot.num_computed; position < end; ++position) {
    const auto index = static_cast<size_t>(position);
    const int32_t block = slot.blocks[index / kBlockSize];
    token_ids.push_back(slot.token_ids[index]);
    positions.push_back(position);
    kv_slots.push_back(block * kBlockSize + position % kBlockSize);
  }
  query_start.push_back(num_rows());
  kv_len.push_back(end);
}

void BatchTensors::AddLogitRows(const SlotWork& work, int32_t index) {
  const Slot& slot = *work.slot;
  const int32_t first_row = num_rows();
  if (slot.wants_prompt_scores()) {
    // The row of a position predicts the token of the next one.
    const int32_t end =
        std::min(slot.num_computed + work.num_tokens, slot.num_prompt - 1);
    for (int32_t position = slot.num_computed; position < end; ++position) {
      logit_rows.push_back({.row = first_row + position - slot.num_computed,
                            .work = index,
                            .scored_position = position + 1});
    }
  }
  if (work.sample) {
    logit_rows.push_back(
        {.row = first_row + work.num_tokens - 1, .work = index});
  }
}

void BatchTensors::AddBlockTables(absl::Span<const SlotWork> work) {
  const auto used_blocks = [](const SlotWork& item) {
    return (item.slot->num_computed + item.num_tokens + kBlockSize - 1) /
           kBlockSize;
  };
  max_blocks_per_sequence = 0;
  for (const SlotWork& item : work) {
    if (item.slot->failed) continue;
    max_blocks_per_sequence =
        std::max(max_blocks_per_sequence, used_blocks(item));
  }
  block_tables.reserve(static_cast<size_t>(num_sequences()) *
                       static_cast<size_t>(max_blocks_per_sequence));
  for (const SlotWork& item : work) {
    if (item.slot->failed) continue;
    const auto begin = item.slot->blocks.begin();
    const int32_t used = used_blocks(item);
    block_tables.insert(block_tables.end(), begin, begin + used);
    block_tables.insert(block_tables.end(),
                        static_cast<size_t>(max_blocks_per_sequence - used),
                        kScratchBlock);
  }
}

void BatchTensors::AddPadding() {
  while (num_rows() < kMinRows) {
    token_ids.push_back(0);
    positions.push_back(0);
    kv_slots.push_back(kScratchBlock * kBlockSize);
  }
}

void BatchTensors::PickWantedRows() {
  const size_t num_wanted =
      std::max(logit_rows.size(), static_cast<size_t>(kMinRows));
  if (num_wanted >= static_cast<size_t>(num_rows())) return;
  for (LogitRow& row : logit_rows) {
    const auto index = static_cast<int32_t>(wanted_rows.size());
    wanted_rows.push_back(std::exchange(row.row, index));
  }
  wanted_rows.resize(num_wanted, 0);
}

}  // namespace drover
