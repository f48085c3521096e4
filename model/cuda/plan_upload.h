#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/cuda/cuda_llama.h"
#include "model/cuda/memory.h"
#include "model/cuda/step_kernels.h"
#include "model/kernels/cuda/sampling_kernels.h"
#include "model/slot_table.h"
#include "scheduler/batch_plan.h"
#include "scheduler/sampling_params.h"

namespace drover::cuda {

// Where the answer to one SlotWork will be found.
struct WorkRecord {
  SlotRef slot;
  bool sample = false;
  bool wants_scores = false;
  int32_t sample_row = -1;   // of the step's sampled tokens
  int32_t first_score = -1;  // of the step's prompt scores
  int32_t num_scores = 0;
};

// How a slot's sequence chooses, as the device reads it.
kernels::cuda::SlotSampling ToSlotSampling(const SamplingParams& params);

struct UploadLimits {
  int32_t num_slots = 0;
  int32_t max_rows = 0;
  int32_t max_sequences = 0;  // padding included
  int64_t max_appends = 0;
  int32_t seen_words = 0;
  int64_t row_bytes = 0;  // of a soft prompt
};

// One plan as differences, packed into page-locked memory and sent in one copy.
// One for each plan in flight; not thread-safe.
class PlanUpload {
 public:
  PlanUpload() = default;

  static absl::StatusOr<PlanUpload> Create(const UploadLimits& limits);

  // Packs the plan and its work, which is in ascending slot. `appends` are the
  // plan's new blocks. INTERNAL if there are more than a plan can have.
  absl::Status Pack(const BatchPlan& plan, absl::Span<const SlotWork> work,
                    absl::Span<const BlockAppend> appends);

  // Pads a step of decodes to `num_sequences`. After Pack.
  void PadTo(int32_t num_sequences);

  // Enqueues the copy.
  absl::Status Send(cudaStream_t stream) const;

  // ---- After Pack ----

  const StepShape& shape() const { return shape_; }
  // Every sequence has one token, and samples.
  bool is_decode() const {
    return shape_.max_queries == 1 && num_scores_ == 0 &&
           shape_.given_rows.empty() &&
           static_cast<size_t>(num_samples_) == records_.size();
  }
  int32_t num_samples() const { return num_samples_; }
  int32_t num_scores() const { return num_scores_; }
  bool wants_top() const { return wants_top_; }
  // Ascending slot.
  const std::vector<WorkRecord>& records() const { return records_; }
  // On the host: the ids that are scored, [num_scores].
  const int32_t* scored_ids() const { return score_ids_; }

  // ---- On the device, good once the copy is done ----

  PlanDifferences differences() const;
  const SequenceInput* sequences() const { return OnDevice(sequences_); }
  const int32_t* ids() const { return OnDevice(ids_); }
  const int32_t* sample_rows() const { return OnDevice(sample_rows_); }
  const int32_t* sample_slots() const { return OnDevice(sample_slots_); }
  const int32_t* score_rows() const { return OnDevice(score_rows_); }
  const int32_t* score_ids() const { return OnDevice(score_ids_); }
  const int32_t* score_top_n() const { return OnDevice(score_top_n_); }

 private:
  explicit PlanUpload(const UploadLimits& limits) : limits_(limits) {}

  // Everything but the bitmaps and the soft prompts' rows, which come last.
  void TakeArrays(Arena& arena, int64_t num_appends, int64_t num_ids);
  void PackAdmissions(const BatchPlan& plan);
  void PackItem(const SlotWork& work, size_t index, int32_t sequence);
  void PackPrefix(const SlotWork& work, int32_t first_row);
  void PackScores(const Slot& slot, int32_t num_tokens, int32_t first_row,
                  WorkRecord& record);

  template <typename T>
  const T* OnDevice(const T* host) const {
    return reinterpret_cast<const T*>(
        static_cast<std::byte*>(device_.get()) +
        (reinterpret_cast<const std::byte*>(host) -
         static_cast<const std::byte*>(host_.get())));
  }

  UploadLimits limits_;
  PinnedMemory host_;
  DeviceMemory device_;

  // In host_.
  SequenceInput* sequences_ = nullptr;
  int32_t* sample_rows_ = nullptr;
  int32_t* sample_slots_ = nullptr;
  SlotAdmission* admissions_ = nullptr;
  int32_t* ids_ = nullptr;
  int32_t* score_rows_ = nullptr;
  int32_t* score_ids_ = nullptr;
  int32_t* score_top_n_ = nullptr;
  BlockAppend* appends_ = nullptr;
  uint32_t* seen_ = nullptr;
  char* prefix_rows_ = nullptr;
  int64_t used_bytes_ = 0;

  StepShape shape_;
  int32_t num_admissions_ = 0;
  int32_t num_appends_ = 0;
  int32_t num_seen_ = 0;
  int32_t num_ids_ = 0;
  int64_t num_prefix_bytes_ = 0;
  int32_t num_samples_ = 0;
  int32_t num_scores_ = 0;
  bool wants_top_ = false;
  std::vector<WorkRecord> records_;
};

}  // namespace drover::cuda
