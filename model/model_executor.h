#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/bounded_queue.h"
#include "model/device_facts.h"
#include "model/load_progress.h"
#include "model/model_config.h"
#include "scheduler/executor.h"

namespace drover {

class Collective;
class StepRunner;

struct ModelExecutorOptions {
  // Where config.json and the safetensors are; or, if `dummy` is set, not read.
  std::string model_dir;
  // Random weights of this shape.
  std::optional<ModelConfig> dummy;

  // float32 or bfloat16. Unset: the config's, float16 as bfloat16, and float32
  // where the CPU has no bfloat16 arithmetic.
  std::optional<DType> dtype;

  // 0: a quarter of the memory that the process may use. Never more than all
  // slots can fill is taken.
  int64_t kv_cache_bytes = 0;

  int32_t num_slots = 32;         // sequences on the device at once
  int32_t max_step_tokens = 512;  // at least num_slots
  // 0: the model's own. Lowered to what the KV cache holds.
  int32_t max_sequence_length = 0;

  // Scores of generated tokens are of the raw logits, as the prompt's are, and
  // not of the distribution that was sampled from.
  bool raw_logprobs = false;

  int32_t num_threads = 0;  // 0: one for each CPU that the process may use

  // The ranks that run the model together, each with the same plans; null: this
  // one alone. All of them create their executors at the same time, and when
  // one is lost or stops, so are all.
  std::shared_ptr<Collective> collective;

  // INVALID_ARGUMENT names the field and the value.
  absl::Status Validate() const;
};

// Runs plans on one rank, in this process, on a thread of its own. The one
// place where exceptions of LibTorch end: they become INTERNAL errors.
//
// A plan that breaks the contract, or whose step throws, is answered with an
// error that names the step; the executor is lost then.
class ModelExecutor : public Executor {
 public:
  using Options = ModelExecutorOptions;

  // Loads the model, allocates everything and runs a step of the largest size.
  // `on_progress` may be empty; it is called on the executor's thread, and not
  // after this has returned. An error is one line: what was wrong, what would
  // be right.
  static absl::StatusOr<std::unique_ptr<ModelExecutor>> Create(
      Options options, LoadProgressCallback on_progress);

  ~ModelExecutor() override;

  // ---- After Create, any thread ----

  const ExecutorInfo& info() const override { return info_; }
  const LoadSummary& summary() const { return summary_; }
  const DeviceFacts& device() const { return device_; }
  const ModelConfig& config() const { return config_; }
  DType dtype() const { return dtype_; }

  void Start(ResultCallback on_result) override;
  void Submit(BatchPlan plan) override;
  void Stop() override;

 private:
  ModelExecutor();

  absl::Status Load(const Options& options,
                    const LoadProgressCallback& on_progress);
  void RunPlans();

  ExecutorInfo info_;
  LoadSummary summary_;
  DeviceFacts device_;
  ModelConfig config_;
  DType dtype_ = DType::kFloat32;

  BoundedQueue<BatchPlan> plans_;
  std::shared_ptr<Collective> collective_;
  ResultCallback on_result_;  // set before the first plan is in the queue
  std::unique_ptr<StepRunner> runner_;  // the thread's, once Create is over
  std::thread thread_;
};

}  // namespace drover
