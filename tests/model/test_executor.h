#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "model/model_executor.h"
#include "scheduler/executor.h"

namespace drover {

// The executor under test: each test program links one definition, so that the
// goldens and equivalences hold on every device.
absl::StatusOr<std::unique_ptr<Executor>> CreateTestExecutor(
    const ModelExecutorOptions& options);

// Whether it computes in bfloat16 here.
bool TestExecutorHasBFloat16();

}  // namespace drover
