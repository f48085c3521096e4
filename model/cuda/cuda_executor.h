#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/bounded_queue.h"
#include "model/cuda/cuda_executor_options.h"
#include "model/device_facts.h"
#include "model/load_progress.h"
#include "model/model_config.h"
#include "scheduler/executor.h"

namespace drover {

namespace cuda {
class CudaStepRunner;
}  // namespace cuda

// Runs plans on one GPU. One thread launches steps as they are submitted, at
// most two ahead of the other, which waits for them and delivers results.
//
// A plan that breaks the contract, and any error of CUDA's, is answered with an
// error that names the step and the cause; the executor is lost then. The
// header is free of CUDA.
class CudaExecutor : public Executor {
 public:
  using Options = CudaExecutorOptions;

  // Loads the model and allocates everything. NOT_FOUND: there is no such GPU;
  // FAILED_PRECONDITION names a GPU or driver that is too old.
  static absl::StatusOr<std::unique_ptr<CudaExecutor>> Create(
      Options options, LoadProgressCallback on_progress);

  ~CudaExecutor() override;

  // ---- After Create, any thread ----

  const ExecutorInfo& info() const override;
  const LoadSummary& summary() const;
  const ModelConfig& config() const;
  DType dtype() const;
  const std::vector<StartupStage>& stages() const;
  // What an operator should know of it.
  const std::vector<std::string>& warnings() const;
  const DeviceFacts& device() const;

  void Start(ResultCallback on_result) override;
  void Submit(BatchPlan plan) override;
  void Stop() override;

 private:
  explicit CudaExecutor(std::unique_ptr<cuda::CudaStepRunner> runner);

  // What the launching thread hands to the collecting one.
  struct Launched {
    uint64_t step = 0;
    absl::Status status;
  };

  void LaunchPlans();
  void CollectResults();
  // False once the executor is lost.
  bool Deliver(const Launched& launched);

  std::unique_ptr<cuda::CudaStepRunner> runner_;
  BoundedQueue<BatchPlan> plans_;
  BoundedQueue<Launched> launched_;
  ResultCallback on_result_;  // set before the first plan is in the queue
  std::thread launcher_;
  std::thread collector_;
};

// Whether there is a GPU that CudaExecutor can use, by default the first.
// NOT_FOUND: there is none. FAILED_PRECONDITION: there is one, and by name why
// it cannot be used.
absl::Status CudaDeviceStatus();

// Keeps the calling thread, and threads that it starts from now on, on the CPUs
// near a GPU. Best called before any are started: CudaExecutor's memory and
// threads are its caller's. The error says why it cannot, and nothing has
// changed; a GPU that cannot be used is Create's to refuse, and OK here.
absl::Status StayNearGpu(int32_t device);

}  // namespace drover
