#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/service_options.h"
#include "server/tls.h"
#include "sharding/hosts/rendezvous_security.h"

namespace drover {

// What `drover serve` was told, before anything is read or started. Each field
// is a flag, and an environment variable of the same name in upper case.
struct ServeOptions {
  // ---- The model ----
  std::string model;     // folder or hub id; may be empty with model_config
  std::string revision;  // of a hub id; empty: main
  // float32, bfloat16 or, on a GPU, float16; empty: the model's own.
  std::string dtype;
  std::string load_format = "safetensors";  // or dummy: random weights
  std::string model_config;  // a shape by name, for dummy weights

  // ---- Soft prompts ----
  std::string prefix_store_path;         // folder; empty: there are none
  int32_t max_prompt_prefix_length = 0;  // in tokens; 0: half the context
  int64_t prompt_cache_size_mb = 512;    // MiB of them that are kept

  // ---- Where it runs ----
  std::string device = "auto";  // cpu, cuda; auto: a GPU where there is one
  double gpu_memory_fraction = 0.9;  // in (0, 1]

  // ---- Limits; 0: chosen from the model and the machine ----
  int32_t max_sequence_length = 0;
  int32_t max_new_tokens = 1024;
  int32_t max_batch_size = 64;
  int32_t max_concurrent_requests = 512;
  int32_t max_top_n_tokens = 10;
  int32_t num_shard = 1;
  int32_t shard_patience_seconds = 60;
  // HOST:PORT to which shards come that somebody else starts; empty: this
  // process starts them.
  std::string rendezvous;
  RendezvousSecurity rendezvous_security;
  int32_t max_step_tokens = 512;
  double target_step_ms = 0.0;  // 0: none
  bool spread_prompts = true;
  int64_t kv_cache_bytes = 0;
  int32_t threads = 0;  // of the shard
  int32_t emitter_threads = 1;
  // None: the CPUs less the shards, 1 to 8.
  std::optional<int32_t> tokenization_workers;
  int64_t max_pending_stream_bytes = 1 << 20;
  int64_t max_message_bytes = 4 << 20;    // of a request
  int64_t max_metadata_bytes = 16 << 10;  // of a request's headers

  // ---- Behaviour ----
  bool default_include_stop_seqs = true;
  bool output_special_tokens = false;
  // Log-probabilities and ranks of generated tokens before penalties,
  // temperature and filters, as vLLM's are, and not after them, as TGIS's.
  bool raw_logprobs = false;

  // ---- The process ----
  std::string host = "0.0.0.0";
  int32_t grpc_port = 8033;  // 0: any free one
  int32_t port = 3000;       // HTTP; 0: any free one
  TlsOptions tls;            // of the gRPC port; HTTP is plaintext
  std::string shard_binary;  // empty: drover-shard beside this program
  int32_t shard_start_timeout_seconds = 600;
  int32_t max_drain_seconds = 90;
  std::string log_format = "text";
  std::string log_level = "info";
  // Written once ready: a JSON line with pid and ports. Empty: none.
  std::string ready_file;
  // Receives the cause of a failure. Empty: none.
  std::string termination_log = "/dev/termination-log";

  // What was given, is known from elsewhere and means nothing here, as the
  // warning names it.
  std::vector<std::string> without_effect;

  // INVALID_ARGUMENT names the flag, its value and what would be right.
  absl::Status Validate() const;
};

}  // namespace drover
