#include "model/cuda/step_kernels.h"
#include "scheduler/batch_plan.h"

namespace drover::cuda {
namespace {

constexpr int kNumThreads = 128;

// One thread block per admission, then blocks of appends.
__global__ void ApplyKernel(PlanDifferences differences, SlotState slots) {
  const auto index = static_cast<int32_t>(blockIdx.x);
  if (index >= differences.num_admissions) {
    const int32_t i =
        (index - differences.num_admissions) * kNumThreads + threadIdx.x;
    if (i >= differences.num_appends) return;
    const BlockAppend append = differences.appends[i];
    slots.block_table[int64_t{append.slot} * slots.max_blocks_per_seq +
                      append.index] = append.block;
    return;
  }
  const SlotAdmission& admission = differences.admissions[index];
  const int32_t slot = admission.slot;
  if (threadIdx.x == 0) {
    slots.sampling[slot] = admission.sampling;
    slots.num_generated[slot] = admission.num_generated;
    slots.num_computed[slot] = 0;
    slots.last_token[slot] = 0;
  }
  if (admission.seen_row < 0) return;
  const uint32_t* from =
      differences.seen + int64_t{admission.seen_row} * slots.seen_words;
  uint32_t* to = slots.seen + int64_t{slot} * slots.seen_words;
  for (int32_t i = threadIdx.x; i < slots.seen_words; i += kNumThreads) {
    to[i] = from[i];
  }
}

// A row whose output nobody reads.
__device__ void BuildPadding(int32_t index, int32_t row,
                             const StepInputs& inputs) {
  if (threadIdx.x != 0) return;
  inputs.token_ids[row] = 0;
  inputs.positions[row] = 0;
  inputs.kv_slots[row] = kScratchBlock * kBlockSize;
  inputs.query_start[index + 1] = row + 1;
  inputs.kv_len[index] = 0;
  inputs.sample_slots[index] = -1;
}

// One thread block per sequence.
__global__ void InputsKernel(const SequenceInput* sequences, const int32_t* ids,
                             SlotState slots, StepInputs inputs) {
  const auto index = static_cast<int32_t>(blockIdx.x);
  const SequenceInput sequence = sequences[index];
  if (index == 0 && threadIdx.x == 0) inputs.query_start[0] = 0;
  if (sequence.slot < 0) {
    BuildPadding(index, sequence.first_row, inputs);
    return;
  }
  const int32_t begin = slots.num_computed[sequence.slot];
  const int32_t end = begin + sequence.num_tokens;
  const int32_t* table =
      slots.block_table + int64_t{sequence.slot} * slots.max_blocks_per_seq;
  for (int32_t i = threadIdx.x; i < sequence.num_tokens; i += kNumThreads) {
    const int32_t row = sequence.first_row + i;
    const int32_t position = begin + i;
    inputs.token_ids[row] = sequence.first_id < 0
                                ? slots.last_token[sequence.slot]
                                : ids[sequence.first_id + i];
    inputs.positions[row] = position;
    inputs.kv_slots[row] =
        table[position / kBlockSize] * kBlockSize + position % kBlockSize;
  }
  int32_t* copy =
      inputs.block_tables + int64_t{index} * slots.max_blocks_per_seq;
  const int32_t num_blocks = (end + kBlockSize - 1) / kBlockSize;
  for (int32_t i = threadIdx.x; i < num_blocks; i += kNumThreads) {
    copy[i] = table[i];
  }
  __syncthreads();  // all have read num_computed
  if (threadIdx.x != 0) return;
  slots.num_computed[sequence.slot] = end;
  inputs.query_start[index + 1] = sequence.first_row + sequence.num_tokens;
  inputs.kv_len[index] = end;
  inputs.sample_slots[index] = sequence.sample ? sequence.slot : -1;
}

}  // namespace

void ApplyDifferences(const PlanDifferences& differences,
                      const SlotState& slots, kernels::CudaStream stream) {
  const int32_t num_blocks =
      differences.num_admissions +
      (differences.num_appends + kNumThreads - 1) / kNumThreads;
  if (num_blocks == 0) return;
  ApplyKernel<<<num_blocks, kNumThreads, 0, stream>>>(differences, slots);
}

void BuildInputs(const SequenceInput* sequences, int32_t num_sequences,
                 const int32_t* ids, const SlotState& slots,
                 const StepInputs& inputs, kernels::CudaStream stream) {
  if (num_sequences == 0) return;
  InputsKernel<<<num_sequences, kNumThreads, 0, stream>>>(sequences, ids, slots,
                                                          inputs);
}

}  // namespace drover::cuda
