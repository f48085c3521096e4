#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/model_executor.h"

namespace drover {

struct CudaExecutorOptions {
  // num_threads is not read; kv_cache_bytes 0: what gpu_memory_fraction leaves.
  // dtype: any; unset: the config's.
  ModelExecutorOptions model;
  // Of the GPU's memory, for everything. In (0, 1]. Graphs and the driver live
  // in the rest.
  double gpu_memory_fraction = 0.9;
  int32_t device = 0;
  // The most entries that sampling parameters may ask for.
  int32_t max_top_n = 10;
  // Sums over ranks of more bytes are NCCL's; unset: what is faster.
  std::optional<int64_t> nccl_above_bytes;
  bool shares_memory = true;  // false, for tests: ranks as on several hosts
  bool shares_gpu = false;    // with other ranks, for tests
  // False: every step is launched kernel by kernel. For tests.
  bool use_graphs = true;

  // INVALID_ARGUMENT names the field and the value.
  absl::Status Validate() const;
};

// One stage of start-up.
struct StartupStage {
  std::string name;
  absl::Duration elapsed;
};

}  // namespace drover
