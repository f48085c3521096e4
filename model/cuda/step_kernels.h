#pragma once

#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"
#include "model/kernels/cuda/sampling_kernels.h"

// What turns a plan's differences into the inputs of a step, on the device.

namespace drover::cuda {

// What the device knows of its sequences, by slot. The sampled token of one
// step is the input of the next through `last_token`, before the host has seen
// it.
struct SlotState {
  int32_t* last_token = nullptr;     // [num_slots]
  int32_t* num_computed = nullptr;   // [num_slots], tokens in the KV cache
  int32_t* num_generated = nullptr;  // [num_slots]
  int32_t* block_table = nullptr;    // [num_slots, max_blocks_per_seq]
  kernels::cuda::SlotSampling* sampling = nullptr;  // [num_slots]
  uint32_t* seen = nullptr;  // [num_slots, seen_words], for penalties
  int32_t max_blocks_per_seq = 0;
  int32_t seen_words = 0;
};

struct BlockAppend {
  int32_t slot = 0;
  int32_t index = 0;  // in the slot's block table
  int32_t block = 0;
};

struct SlotAdmission {
  kernels::cuda::SlotSampling sampling;
  int32_t slot = 0;
  int32_t num_generated = 0;
  int32_t seen_row = -1;  // of the plan's bitmaps; -1: no penalty
};

// One sequence of a step.
struct SequenceInput {
  int32_t slot = -1;  // -1: padding, one row
  int32_t num_tokens = 1;
  int32_t first_row = 0;
  // Of the plan's token ids; -1: the slot's last token.
  int32_t first_id = -1;
  bool sample = false;
};

// Device pointers into one plan's upload.
struct PlanDifferences {
  const SlotAdmission* admissions = nullptr;  // [num_admissions]
  const uint32_t* seen = nullptr;             // [., seen_words]
  const BlockAppend* appends = nullptr;       // [num_appends]
  int32_t num_admissions = 0;
  int32_t num_appends = 0;
};

// The model's inputs; kernels.h says what they mean.
struct StepInputs {
  int32_t* token_ids = nullptr;
  int32_t* positions = nullptr;
  int32_t* kv_slots = nullptr;
  int32_t* query_start = nullptr;
  int32_t* kv_len = nullptr;
  int32_t* block_tables = nullptr;  // [., max_blocks_per_seq]
  // By sequence: the slot that samples, or -1.
  int32_t* sample_slots = nullptr;
};

// Admissions and new blocks. Enqueues.
void ApplyDifferences(const PlanDifferences& differences,
                      const SlotState& slots, kernels::CudaStream stream);

// Builds the inputs of `sequences` [num_sequences] and moves num_computed on.
// ids: the plan's token ids. Enqueues.
void BuildInputs(const SequenceInput* sequences, int32_t num_sequences,
                 const int32_t* ids, const SlotState& slots,
                 const StepInputs& inputs, kernels::CudaStream stream);

}  // namespace drover::cuda
