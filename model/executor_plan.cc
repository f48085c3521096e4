#include "model/executor_plan.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "model/llama.h"
#include "scheduler/batch_plan.h"

namespace drover {
namespace {

std::string GiB(int64_t bytes) {
  return absl::StrFormat("%.2f GiB",
                         static_cast<double>(bytes) / (1024.0 * 1024 * 1024));
}

absl::StatusOr<int32_t> WantedSequenceLength(
    const ModelExecutorOptions& options, const ModelConfig& config) {
  if (options.max_sequence_length == 0) {
    return static_cast<int32_t>(config.max_position_embeddings);
  }
  if (options.max_sequence_length > config.max_position_embeddings) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_sequence_length must be at most the model's ",
        config.max_position_embeddings, ", got ", options.max_sequence_length));
  }
  return options.max_sequence_length;
}

// Blocks that `kv_cache_bytes` hold, and no more than all slots can fill.
int64_t NumBlocks(int64_t kv_cache_bytes, int64_t block_bytes,
                  const ModelExecutorOptions& options,
                  int32_t max_sequence_length) {
  const int64_t per_slot = (max_sequence_length + kBlockSize - 1) / kBlockSize;
  return std::min(kv_cache_bytes / block_bytes,
                  options.num_slots * per_slot + 1);
}

}  // namespace

bool CpuHasBFloat16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

absl::StatusOr<DType> ChooseDType(const ModelConfig& config,
                                  std::optional<DType> wanted,
                                  bool cpu_has_bfloat16) {
  if (wanted == DType::kBFloat16 && !cpu_has_bfloat16) {
    return absl::InvalidArgumentError(
        "this CPU has no bfloat16 arithmetic (AVX512-BF16): use dtype float32");
  }
  const DType dtype = wanted.value_or(config.dtype);
  return dtype == DType::kFloat32 || !cpu_has_bfloat16 ? DType::kFloat32
                                                       : DType::kBFloat16;
}

absl::StatusOr<ExecutorInfo> PlanExecutor(const ModelExecutorOptions& options,
                                          const ModelConfig& config,
                                          DType dtype, int64_t memory_bytes) {
  DROVER_ASSIGN_OR_RETURN(int32_t max_sequence_length,
                          WantedSequenceLength(options, config));
  int64_t kv_cache_bytes = options.kv_cache_bytes;
  if (kv_cache_bytes == 0) {
    if (memory_bytes == 0) {
      return absl::InvalidArgumentError(
          "the machine's memory cannot be read: set kv_cache_bytes");
    }
    kv_cache_bytes = memory_bytes / 4;
  }
  const int64_t block_bytes = config.kv_bytes_per_token(dtype) * kBlockSize;
  const int64_t num_blocks =
      NumBlocks(kv_cache_bytes, block_bytes, options, max_sequence_length);
  if (num_blocks < 2) {
    return absl::ResourceExhaustedError(
        absl::StrCat("kv_cache_bytes must hold at least two blocks of ",
                     block_bytes, " bytes, got ", kv_cache_bytes));
  }
  max_sequence_length = static_cast<int32_t>(
      std::min<int64_t>(max_sequence_length, (num_blocks - 1) * kBlockSize));

  const int64_t model_bytes = LlamaBytes(
      config, LlamaLimits(options.max_step_tokens, max_sequence_length), dtype);
  const int64_t cache_bytes = num_blocks * block_bytes;
  if (memory_bytes != 0 && model_bytes + cache_bytes > memory_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("too little memory: the model takes ", GiB(model_bytes),
                     " and the KV cache ", GiB(cache_bytes),
                     ", the process may use ", GiB(memory_bytes)));
  }
  return ExecutorInfo{.num_slots = options.num_slots,
                      .num_blocks = static_cast<int32_t>(num_blocks),
                      .max_step_tokens = options.max_step_tokens,
                      .max_sequence_length = max_sequence_length,
                      .max_plans_in_flight = 2};
}

}  // namespace drover
