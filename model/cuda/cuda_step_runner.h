#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/cuda/cuda_executor_options.h"
#include "model/cuda/cuda_llama.h"
#include "model/cuda/decode_graphs.h"
#include "model/cuda/device.h"
#include "model/cuda/memory.h"
#include "model/cuda/plan_upload.h"
#include "model/cuda/step_answers.h"
#include "model/cuda/step_kernels.h"
#include "model/device_facts.h"
#include "model/slot_table.h"
#include "scheduler/executor.h"
#include "sharding/ranks/partition.h"

namespace drover::cuda {

// A loaded model on one GPU: slots, KV cache, graphs, and steps. A step is
// launched by one thread and collected by another, in the same order; two may
// be in flight. Nothing in Launch waits for the device or allocates on it.
class CudaStepRunner {
 public:
  static constexpr int32_t kPlansInFlight = 2;

  // Loads, runs a step of the largest size and some small ones, turns what is
  // left of the memory into KV blocks and captures the graphs.
  static absl::StatusOr<std::unique_ptr<CudaStepRunner>> Create(
      const CudaExecutorOptions& options,
      const LoadProgressCallback& on_progress);

  ~CudaStepRunner();

  // ---- The launching thread ----

  // Makes the device this thread's.
  absl::Status UseDevice() const;

  // Enqueues the step. A plan that breaks the contract is an INTERNAL error;
  // nothing more can be run then.
  absl::Status Launch(const BatchPlan& plan);

  // ---- The collecting thread ----

  // Waits for the oldest step that was launched and not collected.
  absl::StatusOr<StepResult> Collect();

  // ---- Any thread, after Create ----

  const ExecutorInfo& info() const { return info_; }
  const LoadSummary& summary() const { return summary_; }
  const ModelConfig& config() const { return config_; }
  DType dtype() const { return dtype_; }
  const DeviceFacts& device_facts() const { return device_facts_; }
  const std::vector<StartupStage>& stages() const { return stages_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  // Everything of one plan in flight.
  struct Flight {
    PlanUpload upload;
    PinnedMemory memory;   // of `answers`
    AnswerArrays answers;  // on the host
    uint64_t step = 0;
    cudaEvent_t uploaded = nullptr;
    cudaEvent_t begin = nullptr;
    cudaEvent_t forward_done = nullptr;
    cudaEvent_t computed = nullptr;
    cudaEvent_t done = nullptr;
  };

  explicit CudaStepRunner(const CudaExecutorOptions& options)
      : options_(options), answer_reader_(options.max_top_n) {}

  // Start-up, in this order.
  absl::Status Open();
  absl::Status CheckWeightsFit() const;
  // Of the device's memory, what this process may still take.
  absl::StatusOr<int64_t> UsableBytes() const;
  absl::StatusOr<DeviceWeights> LoadWeights(
      const LoadProgressCallback& on_progress);
  absl::Status BuildModel(DeviceWeights weights);
  absl::Status AllocateState();
  absl::Status CreateFlight(Flight& flight);
  absl::Status WarmUp();
  absl::Status RunAndRelease(absl::Span<const BatchPlan> plans);
  absl::Status AllocateKvCache();
  absl::Status UseKvCache(int32_t num_blocks);
  // The least that any rank has of it.
  absl::Status Agree(int64_t& value) const;
  absl::Status AwaitRanks() const;
  absl::Status CaptureGraphs();
  absl::Status NoteFacts();

  // A step.
  std::vector<BlockAppend> TakeAppends(const BatchPlan& plan);
  void MoveOn(const std::vector<SlotWork>& work);
  absl::Status Enqueue(Flight& flight);
  absl::Status AwaitAnswersFree();
  absl::Status EnqueueGraph(Flight& flight);
  absl::Status EnqueueEager(Flight& flight);
  absl::Status EnqueueScores(const PlanUpload& upload);
  absl::Status SampleRows(const int32_t* slots, int32_t num_rows);

  Flight& NextFlight(uint64_t& count) {
    return flights_[count++ % kPlansInFlight];
  }

  const CudaExecutorOptions options_;
  ModelConfig config_;
  RankPartition partition_;
  ModelConfig local_config_;  // of what this rank runs
  DType dtype_ = DType::kBFloat16;
  DeviceInfo device_;
  ExecutorInfo info_;
  LoadSummary summary_;
  DeviceFacts device_facts_;
  std::vector<StartupStage> stages_;
  std::vector<std::string> warnings_;

  cudaStream_t stream_ = nullptr;
  cudaStream_t upload_stream_ = nullptr;
  cudaStream_t download_stream_ = nullptr;
  std::unique_ptr<DeviceCollective> collective_;  // null: the only rank
  std::unique_ptr<CudaLlama> llama_;
  DeviceMemory kv_cache_;
  DeviceMemory state_;  // of the next five
  SlotState slots_;
  AnswerArrays answers_;  // on the device
  void* sampler_workspace_ = nullptr;
  float* raw_logits_ = nullptr;  // null unless scores are of them
  int32_t* eos_ids_ = nullptr;

  // The launching thread's.
  std::unique_ptr<SlotTable> table_;
  std::vector<int32_t> num_blocks_;  // by slot: in its block table
  DecodeGraphs graphs_;
  uint64_t num_launched_ = 0;

  // The collecting thread's.
  AnswerReader answer_reader_;
  uint64_t num_collected_ = 0;

  std::array<Flight, kPlansInFlight> flights_;
};

}  // namespace drover::cuda
