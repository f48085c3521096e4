#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "model/slot_table.h"

namespace drover {

// A row whose logits are wanted.
struct LogitRow {
  static constexpr int32_t kSample = -1;

  int32_t row = 0;   // of the hidden states that the forward leaves
  int32_t work = 0;  // index into the step's SlotWork
  // The position in the prompt of the token to score, or kSample.
  int32_t scored_position = kSample;
};

// Rows of the step that are a prefix's, in place of embeddings.
struct PrefixRows {
  int32_t first_row = 0;   // of the step's
  std::string_view bytes;  // one row after another; a slot's prefix has them
};

// The inputs of one step, flat over its tokens. The one place where shapes are
// built from plans.
//
// Rows beyond the sequences' tokens are padding: they compute something nobody
// reads, and append it to the scratch block.
struct BatchTensors {
  std::vector<int32_t> token_ids;  // [num_rows]
  std::vector<int32_t> positions;  // [num_rows]
  std::vector<int32_t> kv_slots;   // [num_rows], block * kBlockSize + offset
  // New tokens 1, 3, 1 -> [0, 1, 4, 5]; [num_sequences + 1].
  std::vector<int32_t> query_start;
  std::vector<int32_t> kv_len;        // [num_sequences], new tokens included
  std::vector<int32_t> block_tables;  // [num_sequences, max_blocks_...]
  int32_t max_blocks_per_sequence = 0;

  std::vector<PrefixRows> prefix_rows;  // ascending; token_ids there are pads

  // Ascending by work, then row.
  std::vector<LogitRow> logit_rows;
  // The rows whose hidden states are wanted, if these are fewer than all; as
  // many as a step has at least, padded with the first. Empty: all.
  std::vector<int32_t> wanted_rows;

  int32_t num_rows() const { return static_cast<int32_t>(token_ids.size()); }
  int32_t num_sequences() const { return static_cast<int32_t>(kv_len.size()); }

  // Describes the step. Keeps its memory from step to step.
  void Build(absl::Span<const SlotWork> work);

 private:
  void Clear();
  void AddSequence(const SlotWork& work);
  void AddLogitRows(const SlotWork& work, int32_t index);
  void AddBlockTables(absl::Span<const SlotWork> work);
  void AddPadding();
  void PickWantedRows();
};

// Steps with fewer rows are padded to this many. oneDNN's bfloat16 product is
// slower for one row than for four: 1.1 to 1.4 times over three shapes of the
// 1.1B model (Zen 4, two cores), products alone; nobody has compared whole
// steps.
inline constexpr int32_t kMinRows = 4;

}  // namespace drover
