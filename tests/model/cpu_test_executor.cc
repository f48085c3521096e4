#include "model/executor_plan.h"
#include "tests/model/test_executor.h"

namespace drover {

absl::StatusOr<std::unique_ptr<Executor>> CreateTestExecutor(
    const ModelExecutorOptions& options) {
  return ModelExecutor::Create(options, nullptr);
}

bool TestExecutorHasBFloat16() { return CpuHasBFloat16(); }

}  // namespace drover
