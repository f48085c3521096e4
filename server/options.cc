#include "server/options.h"

#include <array>
#include <string_view>

#include "base/status_macros.h"
#include "base/strings.h"
#include "model/model_config.h"
#include "server/logging.h"
#include "sharding/hosts/host_port.h"

namespace drover {
namespace {

absl::Status CheckRange(std::string_view flag, int64_t value, int64_t min,
                        int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(flag, " ", value, ": expected a number from ", min, " to ", max));
}

absl::Status CheckLimits(const ServeOptions& options) {
  struct Row {
    std::string_view flag;
    int64_t value;
    int64_t min;
    int64_t max;
  };
  constexpr int64_t kMillion = 1'000'000;
  constexpr int64_t kPetabyte = int64_t{1} << 50;
  const std::array rows = {
      Row{"--max-new-tokens", options.max_new_tokens, 1, kMillion * 100},
      Row{"--max-batch-size", options.max_batch_size, 1, 4096},
      Row{"--max-concurrent-requests", options.max_concurrent_requests, 1,
          kMillion},
      Row{"--max-top-n-tokens", options.max_top_n_tokens, 0, 1000},
      Row{"--num-shard", options.num_shard, 1, 64},
      Row{"--shard-patience-seconds", options.shard_patience_seconds, 1, 86400},
      Row{"--max-step-tokens", options.max_step_tokens, 16, kMillion},
      Row{"--kv-cache-bytes", options.kv_cache_bytes, 0, kPetabyte},
      Row{"--max-prompt-prefix-length", options.max_prompt_prefix_length, 0,
          kMillion * 100},
      Row{"--prompt-cache-size-mb", options.prompt_cache_size_mb, 1, kMillion},
      Row{"--threads", options.threads, 0, 4096},
      Row{"--emitter-threads", options.emitter_threads, 1, 256},
      Row{"--tokenization-workers", options.tokenization_workers.value_or(1), 1,
          256},
      Row{"--max-pending-stream-bytes", options.max_pending_stream_bytes, 1024,
          kPetabyte},
      Row{"--max-message-bytes", options.max_message_bytes, 1024, INT32_MAX},
      Row{"--max-metadata-bytes", options.max_metadata_bytes, 1024, 1 << 24},
      Row{"--grpc-port", options.grpc_port, 0, 65535},
      Row{"--port", options.port, 0, 65535},
      Row{"--shard-start-timeout-seconds", options.shard_start_timeout_seconds,
          1, 86400},
      Row{"--max-drain-seconds", options.max_drain_seconds, 0, 86400},
  };
  for (const Row& row : rows) {
    DROVER_RETURN_IF_ERROR(CheckRange(row.flag, row.value, row.min, row.max));
  }
  if (options.max_sequence_length != 0) {
    DROVER_RETURN_IF_ERROR(CheckRange("--max-sequence-length",
                                      options.max_sequence_length, 2,
                                      kMillion * 100));
  }
  if (!(options.target_step_ms >= 0.0 && options.target_step_ms <= 60'000.0)) {
    return absl::InvalidArgumentError(StrCat(
        "--target-step-ms ", options.target_step_ms, ": expected 0 to 60000"));
  }
  // A step must hold a token of every sequence.
  if (options.max_step_tokens < options.max_batch_size) {
    return absl::InvalidArgumentError(StrCat(
        "--max-step-tokens ", options.max_step_tokens,
        ": expected at least --max-batch-size ", options.max_batch_size));
  }
  return absl::OkStatus();
}

absl::Status CheckModel(const ServeOptions& options) {
  if (options.load_format != "safetensors" && options.load_format != "dummy") {
    return absl::InvalidArgumentError(
        StrCat("--load-format ", options.load_format,
               ": expected safetensors or dummy"));
  }
  if (options.dtype == "int8" || options.dtype == "int4") {
    return absl::InvalidArgumentError(
        StrCat("--dtype ", options.dtype,
               ": weights are not quantized here; expected float32, bfloat16 "
               "or float16"));
  }
  if (!options.dtype.empty() && !ParseDType(options.dtype).ok()) {
    return absl::InvalidArgumentError(StrCat(
        "--dtype ", options.dtype, ": expected float32, bfloat16 or float16"));
  }
  if (options.device != "auto" && options.device != "cpu" &&
      options.device != "cuda") {
    return absl::InvalidArgumentError(
        StrCat("--device ", options.device, ": expected auto, cpu or cuda"));
  }
  if (!(options.gpu_memory_fraction > 0.0 &&
        options.gpu_memory_fraction <= 1.0)) {
    return absl::InvalidArgumentError(
        StrCat("--gpu-memory-fraction ", options.gpu_memory_fraction,
               ": expected a number above 0 and at most 1"));
  }
  if (options.load_format == "dummy") {
    if (options.model.empty() == options.model_config.empty()) {
      return absl::InvalidArgumentError(
          "--load-format dummy needs either --model DIR or --model-config "
          "NAME");
    }
    return absl::OkStatus();
  }
  if (!options.model_config.empty()) {
    return absl::InvalidArgumentError(
        StrCat("--model-config ", options.model_config,
               " goes with --load-format dummy only"));
  }
  if (options.model.empty()) {
    return absl::InvalidArgumentError(
        "--model is missing: expected a folder with config.json, safetensors "
        "and tokenizer.model or tokenizer.json");
  }
  return absl::OkStatus();
}

absl::Status CheckRendezvous(const ServeOptions& options) {
  const RendezvousSecurity& security = options.rendezvous_security;
  if (!options.rendezvous.empty()) {
    DROVER_RETURN_IF_ERROR(
        ParseHostPort("--rendezvous", options.rendezvous).status());
    return security.Validate();
  }
  if (security.insecure || !security.tls_cert_path.empty() ||
      !security.tls_key_path.empty() || !security.tls_ca_cert_path.empty()) {
    return absl::InvalidArgumentError(
        "--rendezvous is missing: what is said about its security is about "
        "shards on other hosts");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ServeOptions::Validate() const {
  DROVER_RETURN_IF_ERROR(CheckModel(*this));
  DROVER_RETURN_IF_ERROR(CheckLimits(*this));
  DROVER_RETURN_IF_ERROR(CheckRendezvous(*this));
  if (grpc_port != 0 && grpc_port == port) {
    return absl::InvalidArgumentError(
        StrCat("--port ", port, " is also --grpc-port: expected two ports"));
  }
  if (host.empty()) {
    return absl::InvalidArgumentError("--host is empty: expected an address");
  }
  DROVER_RETURN_IF_ERROR(tls.Validate());
  DROVER_RETURN_IF_ERROR(ParseLogFormat(log_format).status());
  return ParseLogLevel(log_level).status();
}

}  // namespace drover
