#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "model/model_executor.h"
#include "sharding/hosts/rendezvous_security.h"

namespace CLI {
class App;
}  // namespace CLI

namespace drover {

// What drover-shard was told.
struct ShardOptions {
  // ---- The router: either of the two ----
  int router_fd = -1;      // of the one that started this process
  std::string rendezvous;  // HOST:PORT, where it waits for ranks
  RendezvousSecurity security;
  int32_t start_timeout_seconds = 600;

  // ---- The group ----
  int32_t rank = 0;
  int32_t world_size = 1;
  int group_fd = -1;       // memory that ranks of one host share
  std::string group_host;  // for ranks of other hosts
  int32_t group_port = 0;
  int32_t group_patience_seconds = 60;

  // ---- The model ----
  std::string model;
  std::string load_format = "safetensors";
  std::string model_config;
  std::string dtype;
  std::string device = "auto";
  double gpu_memory_fraction = 0.9;
  int32_t ranks_per_gpu = 1;
  bool by_nccl = false;
  int32_t max_top_n = 10;
  ModelExecutorOptions executor;

  std::string log_level = "info";

  // INVALID_ARGUMENT names the flag.
  absl::Status Validate() const;
};

// Adds the flags, which write into `options`; both outlive the parse.
void AddShardFlags(CLI::App& app, ShardOptions& options);

}  // namespace drover
