#include "sharding/shard_flags.h"

#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "sharding/hosts/host_port.h"

namespace drover {
namespace {

void AddGroupFlags(CLI::App& app, ShardOptions& options) {
  app.add_option("--rank", options.rank, "Which part of the model this has");
  app.add_option("--world-size", options.world_size,
                 "How many shards run the model together");
  app.add_option("--group-fd", options.group_fd,
                 "Memory that these share, made by the router");
  app.add_option("--group-patience-seconds", options.group_patience_seconds,
                 "How long one of them waits for another in a step");
}

void AddRendezvousFlags(CLI::App& app, ShardOptions& options) {
  constexpr char kGroup[] = "Started by an operator, perhaps on another host";
  const auto add = [&](const char* flag, auto& target, const char* help) {
    return app.add_option(flag, target, help)->group(kGroup);
  };
  add("--rendezvous", options.rendezvous,
      "HOST:PORT where `drover serve --rendezvous` waits for the ranks");
  add("--rendezvous-tls-cert-path", options.security.tls_cert_path,
      "This shard's certificate (PEM)");
  add("--rendezvous-tls-key-path", options.security.tls_key_path,
      "Its private key (PEM)");
  add("--rendezvous-tls-ca-cert-path", options.security.tls_ca_cert_path,
      "Certificate of the authority that signed the router's (PEM)");
  app.add_flag("--rendezvous-insecure", options.security.insecure,
               "No TLS: anybody on the network can read and speak for others")
      ->group(kGroup);
  add("--group-host", options.group_host,
      "Address at which other ranks reach this one; default: the one at which "
      "the router sees it");
  add("--group-port", options.group_port,
      "Port for other ranks; 0: any free one");
  add("--start-timeout-seconds", options.start_timeout_seconds,
      "How long to try to reach the router and to wait for the other ranks");
}

void AddModelFlags(CLI::App& app, ShardOptions& options) {
  app.add_option("--model", options.model,
                 "Folder with config.json and safetensors; no hub id");
  app.add_option("--load-format", options.load_format,
                 "safetensors, or dummy for random weights")
      ->check(CLI::IsMember({"safetensors", "dummy"}));
  app.add_option("--model-config", options.model_config,
                 "Shape of dummy weights, by name");
  app.add_option("--device", options.device,
                 "cpu, cuda, or auto: a GPU where there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--gpu-memory-fraction", options.gpu_memory_fraction,
                 "Of the GPU's memory, for weights, activations and KV cache");
  app.add_option("--ranks-per-gpu", options.ranks_per_gpu,
                 "Shards that share a GPU; slow, for tests")
      ->envname("DROVER_RANKS_PER_GPU")
      ->check(CLI::PositiveNumber);
  app.add_flag(
         "--by-nccl", options.by_nccl,
         "GPUs do not show each other memory, as if on several hosts; for "
         "tests")
      ->envname("DROVER_RANKS_BY_NCCL");
  app.add_option("--threads", options.executor.num_threads,
                 "Threads of a step; 0: one for each CPU");
}

// What must be the same at every rank: at a rendezvous the router tells it.
void AddSettings(CLI::App& app, ShardOptions& options) {
  constexpr char kGroup[] = "Not with --rendezvous, where the router says it";
  const auto add = [&](const char* flag, auto& target, const char* help) {
    app.add_option(flag, target, help)
        ->group(kGroup)
        ->excludes(app.get_option("--rendezvous"));
  };
  add("--dtype", options.dtype,
      "float32, bfloat16 or, on a GPU, float16; default: the model's own");
  add("--kv-cache-bytes", options.executor.kv_cache_bytes,
      "Memory of the KV cache; 0: a quarter of what there is, or what is left "
      "on a GPU");
  add("--num-slots", options.executor.num_slots, "Sequences that run at once");
  add("--max-step-tokens", options.executor.max_step_tokens,
      "Tokens in one step, all sequences together");
  add("--max-sequence-length", options.executor.max_sequence_length,
      "Longest sequence; 0: the model's own limit");
  add("--max-top-n", options.max_top_n,
      "Most entries of best tokens that a request may ask for");
  app.add_flag("--raw-logprobs", options.executor.raw_logprobs,
               "Scores of generated tokens are of the raw logits")
      ->group(kGroup)
      ->excludes(app.get_option("--rendezvous"));
}

absl::Status CheckRange(const char* flag, int32_t value, int32_t min,
                        int32_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, " ", value, ": expected ", min, " to ", max));
}

}  // namespace

void AddShardFlags(CLI::App& app, ShardOptions& options) {
  app.set_version_flag("--version",
                       std::string("drover-shard ") + DROVER_VERSION);
  app.add_option("--router-fd", options.router_fd,
                 "Connected socket of the router that started this process");
  AddGroupFlags(app, options);
  AddRendezvousFlags(app, options);
  AddModelFlags(app, options);
  AddSettings(app, options);
  app.add_option("--log-level", options.log_level,
                 "debug, info, warning or error");
}

absl::Status ShardOptions::Validate() const {
  DROVER_RETURN_IF_ERROR(CheckRange("--world-size", world_size, 1, 64));
  DROVER_RETURN_IF_ERROR(CheckRange("--rank", rank, 0, world_size - 1));
  DROVER_RETURN_IF_ERROR(
      CheckRange("--group-patience-seconds", group_patience_seconds, 1, 86400));
  if ((router_fd >= 0) != rendezvous.empty()) {
    return absl::InvalidArgumentError(
        "expected either --rendezvous HOST:PORT or --router-fd, which `drover "
        "serve` gives to the shards that it starts");
  }
  if (rendezvous.empty()) return absl::OkStatus();
  DROVER_RETURN_IF_ERROR(ParseHostPort("--rendezvous", rendezvous).status());
  DROVER_RETURN_IF_ERROR(CheckRange("--group-port", group_port, 0, 65535));
  DROVER_RETURN_IF_ERROR(
      CheckRange("--start-timeout-seconds", start_timeout_seconds, 1, 86400));
  return security.Validate();
}

}  // namespace drover
