#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/batch_tensors.h"
#include "model/device_facts.h"
#include "model/kv_cache.h"
#include "model/llama.h"
#include "model/model_executor.h"
#include "model/slot_table.h"
#include "scheduler/batch_plan.h"
#include "scheduler/executor.h"
#include "sharding/ranks/collective.h"
#include "sharding/ranks/partition.h"

namespace drover {

// A loaded model with its KV cache and slots, and the step: apply the plan,
// build the inputs, forward, sample, advance. Everything on the thread that
// created it. May throw what LibTorch throws.
class StepRunner {
 public:
  static absl::StatusOr<std::unique_ptr<StepRunner>> Create(
      const ModelExecutorOptions& options,
      const LoadProgressCallback& on_progress);

  // After an error nothing more can be run.
  absl::StatusOr<StepResult> Run(const BatchPlan& plan);

  const ExecutorInfo& info() const { return info_; }
  const LoadSummary& summary() const { return summary_; }
  const DeviceFacts& device() const { return device_; }
  const ModelConfig& config() const { return config_; }
  DType dtype() const { return dtype_; }

 private:
  StepRunner(ModelConfig config, const RankPartition& partition, DType dtype,
             const ExecutorInfo& info, bool raw_logprobs, WeightLoader& loader,
             std::shared_ptr<Collective> collective);

  // Samples and scores all logit rows, in slices that bound the memory.
  // answers: one for each of `work`. Returns the time the logits took, sampling
  // left out.
  absl::StatusOr<absl::Duration> Answer(const at::Tensor& hidden,
                                        absl::Span<const SlotWork> work,
                                        std::vector<SequenceResult>& answers);
  // Different rows on different threads.
  void AnswerRow(const LogitRow& row, absl::Span<float> logits,
                 absl::Span<const SlotWork> work,
                 std::vector<SequenceResult>& answers) const;
  // The slot's next token, or why there is none. `logits` are overwritten.
  SequenceSampler::Choice Sample(Slot& slot, absl::Span<float> logits) const;
  // The slot goes on from the answer.
  static void Commit(const SlotWork& work, SequenceResult& answer);
  // A step of the largest size, so that whatever LibTorch allocates or compiles
  // at first use is there before anybody waits for it.
  absl::Status WarmUp();

  const ModelConfig config_;
  const DType dtype_;
  const ExecutorInfo info_;
  const bool raw_logprobs_;
  LoadSummary summary_;
  DeviceFacts device_;
  const std::shared_ptr<Collective> collective_;  // null: the only rank
  Llama llama_;
  KvCache kv_cache_;
  SlotTable slots_;
  BatchTensors batch_;
  std::vector<int32_t> slice_rows_;
};

}  // namespace drover
