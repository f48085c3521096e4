#pragma once

#include <cstddef>
#include <cstdint>

#include "model/kernels/cuda/cuda_stream.h"

// Choosing tokens from logits on the GPU. The definitions are docs/sampling.md,
// as in model/sampler.h: equal logits give the tokens that the CPU's sampler
// gives, whatever the row or the batch. Conventions of cuda_kernels.h.

namespace drover::kernels::cuda {

// How the sequence of a slot chooses; SamplingParams for the device. The
// defaults switch everything off.
struct SlotSampling {
  uint64_t seed = 0;
  float temperature = 1.0f;
  float top_p = 1.0f;
  float typical_p = 1.0f;
  float repetition_penalty = 1.0f;
  float length_penalty_decay = 1.0f;
  int32_t length_penalty_start = INT32_MAX;  // INT32_MAX: no length penalty
  int32_t min_new_tokens = 0;
  int32_t top_k = 0;
  int32_t top_n = 0;  // at most max_top_n of the call
  bool greedy = true;
  bool token_scores = false;
};

// One row's outcome. logprob and rank only if scores were asked for.
struct SampledToken {
  int32_t slot = -1;
  int32_t id = 0;
  int32_t status = 0;  // a SequenceStatus; id is 0 unless it is kOk
  float logprob = 0.0f;
  int32_t rank = 0;
  int32_t num_top = 0;  // entries in the row's part of `top`
};

struct TopEntry {
  int32_t id = 0;
  float logprob = 0.0f;
};

// What Sample reads and writes, by slot, beside what the rest of the step does.
struct SamplerState {
  const SlotSampling* params = nullptr;  // [num_slots]
  // [num_slots]: tokens generated so far. Sample adds one.
  int32_t* num_generated = nullptr;
  // [num_slots]: the chosen id, also where the status is not kOk.
  int32_t* last_token = nullptr;
  // [num_slots, SeenWords(vocab_size)]: ids of the prompt and the output, for
  // the repetition penalty. Sample adds its choice. Read and written only for
  // slots with a repetition penalty.
  uint32_t* seen = nullptr;
};

constexpr int64_t SeenWords(int64_t vocab_size) {
  return (vocab_size + 31) / 32;
}

struct SampleArgs {
  float* logits = nullptr;         // [num_rows, vocab_size], overwritten
  const int32_t* slots = nullptr;  // [num_rows]: distinct; -1: a padding row
  SamplerState state;
  const int32_t* eos_ids =
      nullptr;  // [num_eos]; those out of range are ignored
  int32_t num_eos = 0;
  SampledToken* results = nullptr;  // [num_rows]; not written for padding
  TopEntry* top = nullptr;          // [num_rows, 4 * max_top_n]
  int32_t max_top_n = 0;
  // [num_rows, vocab_size]: where rows with scores are kept as they came, to be
  // scored so; null: scores are of what was sampled from.
  float* raw_logits = nullptr;
  void* workspace = nullptr;  // SamplerWorkspaceBytes(); need not be zeroed
  int32_t num_rows = 0;
  int32_t vocab_size = 0;
};

void Sample(const SampleArgs& args, CudaStream stream);

// Scores given ids under the raw logits, for prompt tokens: ScoreToken of
// model/sampler.h per row.
struct ScoreArgs {
  const float* logits = nullptr;    // [num_rows, vocab_size]
  const int32_t* ids = nullptr;     // [num_rows]; -1: nothing to score
  const int32_t* top_n = nullptr;   // [num_rows], each at most max_top_n
  SampledToken* results = nullptr;  // [num_rows]; slot is the row's number
  TopEntry* top = nullptr;          // [num_rows, 4 * max_top_n]
  int32_t max_top_n = 0;
  void* workspace = nullptr;
  int32_t num_rows = 0;
  int32_t vocab_size = 0;
};

void Score(const ScoreArgs& args, CudaStream stream);

// For calls with up to max_rows rows. About 8 bytes per logit.
size_t SamplerWorkspaceBytes(int32_t max_rows, int32_t vocab_size);

// Ors ids into the slots' bitmaps, for admissions: ids[i] goes to slots[i].
struct ObserveArgs {
  const int32_t* ids = nullptr;    // [num_ids]
  const int32_t* slots = nullptr;  // [num_ids]
  uint32_t* seen = nullptr;        // [num_slots, SeenWords(vocab_size)]
  int32_t num_ids = 0;
  int32_t vocab_size = 0;
};

void Observe(const ObserveArgs& args, CudaStream stream);

}  // namespace drover::kernels::cuda
