#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "model/model_config.h"
#include "model/model_executor.h"
#include "scheduler/executor.h"

namespace drover {

// Whether this CPU multiplies bfloat16 numbers.
bool CpuHasBFloat16();

// The dtype to run `config` in: what is asked for, or the model's own as far as
// the CPU has it.
absl::StatusOr<DType> ChooseDType(const ModelConfig& config,
                                  std::optional<DType> wanted,
                                  bool cpu_has_bfloat16);

// How large everything is, decided before anything is loaded. Pure.
// memory_bytes: what the process may use; 0: unknown.
//
// RESOURCE_EXHAUSTED if it cannot fit, INVALID_ARGUMENT if the options ask for
// longer sequences than the model knows.
absl::StatusOr<ExecutorInfo> PlanExecutor(const ModelExecutorOptions& options,
                                          const ModelConfig& config,
                                          DType dtype, int64_t memory_bytes);

}  // namespace drover
