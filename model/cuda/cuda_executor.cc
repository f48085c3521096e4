#include "model/cuda/cuda_executor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/cuda/cuda_step_runner.h"
#include "model/cuda/device.h"

namespace drover {
namespace {

absl::Status AtStep(uint64_t step, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("step ", step, ": ", status.message()));
}

}  // namespace

absl::Status CudaExecutorOptions::Validate() const {
  // A GPU has float16, which a CPU's options refuse.
  ModelExecutorOptions checked = model;
  checked.dtype.reset();
  DROVER_RETURN_IF_ERROR(checked.Validate());
  if (!(gpu_memory_fraction > 0.0 && gpu_memory_fraction <= 1.0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu_memory_fraction must be above 0 and at most 1, got ",
                     gpu_memory_fraction));
  }
  if (max_top_n < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_top_n must be at least 0, got ", max_top_n));
  }
  return absl::OkStatus();
}

CudaExecutor::CudaExecutor(std::unique_ptr<cuda::CudaStepRunner> runner)
    : runner_(std::move(runner)),
      plans_(/*capacity=*/0),
      launched_(/*capacity=*/0),
      launcher_([this] { LaunchPlans(); }),
      collector_([this] { CollectResults(); }) {}

CudaExecutor::~CudaExecutor() { Stop(); }

absl::StatusOr<std::unique_ptr<CudaExecutor>> CudaExecutor::Create(
    Options options, LoadProgressCallback on_progress) {
  DROVER_RETURN_IF_ERROR(options.Validate());
  DROVER_ASSIGN_OR_RETURN(std::unique_ptr<cuda::CudaStepRunner> runner,
                          cuda::CudaStepRunner::Create(options, on_progress));
  return std::unique_ptr<CudaExecutor>(new CudaExecutor(std::move(runner)));
}

const ExecutorInfo& CudaExecutor::info() const { return runner_->info(); }
const LoadSummary& CudaExecutor::summary() const { return runner_->summary(); }
const ModelConfig& CudaExecutor::config() const { return runner_->config(); }
DType CudaExecutor::dtype() const { return runner_->dtype(); }
const std::vector<StartupStage>& CudaExecutor::stages() const {
  return runner_->stages();
}

const std::vector<std::string>& CudaExecutor::warnings() const {
  return runner_->warnings();
}

const DeviceFacts& CudaExecutor::device() const {
  return runner_->device_facts();
}

void CudaExecutor::Start(ResultCallback on_result) {
  on_result_ = std::move(on_result);
}

void CudaExecutor::Submit(BatchPlan plan) {
  // info().max_plans_in_flight bounds the queue. Closed: stopped, or lost and
  // the callback has been told.
  plans_.Push(std::move(plan));
}

void CudaExecutor::Stop() {
  plans_.Close();
  launched_.Close();
  if (launcher_.joinable()) launcher_.join();
  if (collector_.joinable()) collector_.join();
}

void CudaExecutor::LaunchPlans() {
  const absl::Status device_status = runner_->UseDevice();
  while (true) {
    const std::vector<BatchPlan> plans = plans_.PopAll();
    if (plans.empty()) return;  // closed
    for (const BatchPlan& plan : plans) {
      if (plans_.closed()) return;
      absl::Status status = device_status;
      if (status.ok()) status = runner_->Launch(plan);
      const bool lost = !status.ok();
      launched_.Push({.step = plan.step, .status = std::move(status)});
      if (lost) return;
    }
  }
}

void CudaExecutor::CollectResults() {
  const absl::Status device_status = runner_->UseDevice();
  while (true) {
    const std::vector<Launched> steps = launched_.PopAll();
    if (steps.empty()) return;  // closed
    for (Launched step : steps) {
      if (launched_.closed()) return;
      if (step.status.ok()) step.status = device_status;
      if (!Deliver(step)) return;
    }
  }
}

bool CudaExecutor::Deliver(const Launched& launched) {
  absl::StatusOr<StepResult> result =
      launched.status.ok() ? runner_->Collect()
                           : absl::StatusOr<StepResult>(launched.status);
  if (result.ok()) {
    on_result_(std::move(result));
    return true;
  }
  plans_.Close();
  on_result_(AtStep(launched.step, result.status()));
  return false;
}

absl::Status CudaDeviceStatus() {
  return cuda::CheckDevice(CudaExecutorOptions().device).status();
}

absl::Status StayNearGpu(int32_t device) {
  if (!cuda::CheckDevice(device).ok()) return absl::OkStatus();
  return cuda::StayNearDevice(device);
}

}  // namespace drover
