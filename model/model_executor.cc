#include "model/model_executor.h"

#include <exception>
#include <future>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "c10/util/Exception.h"
#include "model/step_runner.h"
#include "sharding/ranks/collective.h"

namespace drover {
namespace {

// The door: what LibTorch, oneDNN or the allocator throw ends here.
template <typename Function>
auto WithoutExceptions(Function function) -> decltype(function()) {
  try {
    return function();
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("LibTorch: ", error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

absl::Status AtStep(uint64_t step, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("step ", step, ": ", status.message()));
}

absl::Status Require(bool condition, const char* field, int64_t value,
                     const char* expected) {
  if (condition) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be ", expected, ", got ", value));
}

}  // namespace

absl::Status ModelExecutorOptions::Validate() const {
  if (model_dir.empty() && !dummy.has_value()) {
    return absl::InvalidArgumentError("no model: model_dir is empty");
  }
  if (dtype == DType::kFloat16) {
    return absl::InvalidArgumentError(
        "dtype must be float32 or bfloat16 on a CPU, got float16");
  }
  DROVER_RETURN_IF_ERROR(Require(kv_cache_bytes >= 0, "kv_cache_bytes",
                                 kv_cache_bytes, "at least 0"));
  DROVER_RETURN_IF_ERROR(
      Require(num_slots > 0, "num_slots", num_slots, "at least 1"));
  DROVER_RETURN_IF_ERROR(Require(max_step_tokens >= num_slots,
                                 "max_step_tokens", max_step_tokens,
                                 "at least the number of slots"));
  DROVER_RETURN_IF_ERROR(Require(max_sequence_length >= 0,
                                 "max_sequence_length", max_sequence_length,
                                 "at least 0"));
  return Require(num_threads >= 0, "num_threads", num_threads, "at least 0");
}

ModelExecutor::ModelExecutor() : plans_(/*capacity=*/0) {}

ModelExecutor::~ModelExecutor() { Stop(); }

absl::StatusOr<std::unique_ptr<ModelExecutor>> ModelExecutor::Create(
    Options options, LoadProgressCallback on_progress) {
  DROVER_RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<ModelExecutor> executor(new ModelExecutor());
  // Loading runs on the thread that will run the steps: OpenMP keeps a team of
  // threads for each thread that ever asked for one.
  std::promise<absl::Status> loaded;
  std::future<absl::Status> status = loaded.get_future();
  executor->thread_ = std::thread([&, self = executor.get()] {
    const absl::Status load_status =
        WithoutExceptions([&] { return self->Load(options, on_progress); });
    // Nothing of Create's is touched after this.
    loaded.set_value(load_status);
    if (load_status.ok()) self->RunPlans();
  });
  DROVER_RETURN_IF_ERROR(status.get());
  return executor;
}

absl::Status ModelExecutor::Load(const Options& options,
                                 const LoadProgressCallback& on_progress) {
  DROVER_ASSIGN_OR_RETURN(runner_, StepRunner::Create(options, on_progress));
  collective_ = options.collective;
  info_ = runner_->info();
  summary_ = runner_->summary();
  device_ = runner_->device();
  config_ = runner_->config();
  dtype_ = runner_->dtype();
  return absl::OkStatus();
}

void ModelExecutor::Start(ResultCallback on_result) {
  on_result_ = std::move(on_result);
}

void ModelExecutor::Submit(BatchPlan plan) {
  // info_.max_plans_in_flight bounds the queue. Closed: stopped, or lost and
  // the callback has been told.
  plans_.Push(std::move(plan));
}

void ModelExecutor::Stop() {
  plans_.Close();
  // A step under way here, or one that waits for this rank elsewhere.
  if (collective_ != nullptr) collective_->Abort();
  if (thread_.joinable()) thread_.join();
}

void ModelExecutor::RunPlans() {
  while (true) {
    std::vector<BatchPlan> plans = plans_.PopAll();
    for (const BatchPlan& plan : plans) {
      if (plans_.closed()) return;
      absl::StatusOr<StepResult> result =
          WithoutExceptions([&] { return runner_->Run(plan); });
      const bool lost = !result.ok();
      if (lost) {
        plans_.Close();
        if (collective_ != nullptr) collective_->Abort();
        result = AtStep(plan.step, result.status());
      }
      on_result_(std::move(result));
      if (lost) return;
    }
    if (plans.empty()) return;  // closed
  }
}

}  // namespace drover
