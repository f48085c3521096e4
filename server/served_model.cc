#include "server/served_model.h"

#include <algorithm>
#include <utility>

#include "base/machine_limits.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "server/hub_cache.h"
#include "sharding/ranks/partition.h"

namespace drover {
namespace {

// Shards share the CPUs; alone, a shard counts them itself.
int32_t ThreadsOfShard(const ServeOptions& options) {
  if (options.threads > 0 || options.num_shard == 1) return options.threads;
  return std::max(1, ReadMachineLimits().num_cpus / options.num_shard);
}

// Shards keep a CPU each busy.
int32_t TokenizationWorkers(const ServeOptions& options) {
  if (options.tokenization_workers) return *options.tokenization_workers;
  return std::clamp(ReadMachineLimits().num_cpus - options.num_shard, 1, 8);
}

bool IsDummy(const ServeOptions& options) {
  return options.load_format == "dummy";
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizerFor(
    const ServeOptions& options, const ModelConfig& config) {
  const auto vocab_size = static_cast<int32_t>(config.vocab_size);
  if (options.model.empty()) return MakeSyntheticTokenizer(vocab_size);
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      LoadTokenizer(options.model);
  if (absl::IsNotFound(tokenizer.status()) && IsDummy(options)) {
    return MakeSyntheticTokenizer(vocab_size);
  }
  if (!tokenizer.ok()) return tokenizer.status();
  // The other way round is common: embeddings padded to a round size.
  if ((*tokenizer)->vocab_size() > vocab_size) {
    return absl::InvalidArgumentError(
        StrCat("--model ", options.model, ": the tokenizer has ",
               (*tokenizer)->vocab_size(), " ids, the model only ", vocab_size,
               " (vocab_size in config.json)"));
  }
  return tokenizer;
}

}  // namespace

absl::Status FindModel(ServeOptions& options) {
  if (options.model.empty()) return absl::OkStatus();
  absl::StatusOr<std::string> folder =
      FindModelFolder(options.model, options.revision, HubCacheFolder());
  if (!folder.ok()) {
    return absl::NotFoundError(StrCat("--model ", folder.status().message()));
  }
  options.model = *std::move(folder);
  return absl::OkStatus();
}

absl::StatusOr<ServedModel> LoadServedModel(const ServeOptions& options) {
  ServedModel model;
  if (options.model.empty()) {
    DROVER_ASSIGN_OR_RETURN(model.config,
                            NamedModelConfig(options.model_config));
    model.name = options.model_config;
  } else {
    DROVER_ASSIGN_OR_RETURN(model.config, LoadModelConfig(options.model));
    model.name = ModelName(options.model);
  }
  if (IsDummy(options)) {
    model.fingerprint = ModelFingerprint(model.config);
  } else {
    DROVER_ASSIGN_OR_RETURN(model.fingerprint, ModelFingerprint(options.model));
  }
  DROVER_RETURN_IF_ERROR(CheckAgainstModel(options, model.config));
  DROVER_ASSIGN_OR_RETURN(model.tokenizer,
                          LoadTokenizerFor(options, model.config));
  return model;
}

absl::Status CheckAgainstModel(const ServeOptions& options,
                               const ModelConfig& config) {
  if (options.num_shard > 1) {
    DROVER_RETURN_IF_ERROR(
        PartitionModel(config, /*rank=*/0, options.num_shard).status());
  }
  if (options.max_sequence_length <= config.max_position_embeddings) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      StrCat("--max-sequence-length ", options.max_sequence_length,
             ": the model's context is ", config.max_position_embeddings,
             " (max_position_embeddings in config.json)"));
}

ShardSettings MakeShardSettings(const ServeOptions& options) {
  return {.dtype = options.dtype,
          .kv_cache_bytes = options.kv_cache_bytes / options.num_shard,
          .num_slots = options.max_batch_size,
          .max_step_tokens = options.max_step_tokens,
          .max_sequence_length = options.max_sequence_length,
          .raw_logprobs = options.raw_logprobs,
          .max_top_n = options.max_top_n_tokens};
}

std::vector<std::string> ShardArgs(const ServeOptions& options) {
  std::vector<std::string> args = {
      StrCat("--kv-cache-bytes=", options.kv_cache_bytes / options.num_shard),
      StrCat("--num-slots=", options.max_batch_size),
      StrCat("--max-step-tokens=", options.max_step_tokens),
      StrCat("--max-sequence-length=", options.max_sequence_length),
      StrCat("--max-top-n=", options.max_top_n_tokens),
      StrCat("--threads=", ThreadsOfShard(options)),
      StrCat("--load-format=", options.load_format),
      StrCat("--device=", options.device),
      StrCat("--gpu-memory-fraction=", options.gpu_memory_fraction),
      // Why it gives up must reach us, even where nothing is shown.
      StrCat("--log-level=",
             options.log_level == "off" ? "error" : options.log_level),
  };
  const auto add_if_set = [&args](const char* flag, const std::string& value) {
    if (!value.empty()) args.push_back(StrCat(flag, "=", value));
  };
  if (options.num_shard > 1) {
    args.push_back(
        StrCat("--group-patience-seconds=", options.shard_patience_seconds));
  }
  if (options.raw_logprobs) args.emplace_back("--raw-logprobs");
  add_if_set("--model", options.model);
  add_if_set("--model-config", options.model_config);
  add_if_set("--dtype", options.dtype);
  return args;
}

absl::StatusOr<PrefixStore::Options> MakePrefixOptions(
    const ServeOptions& options, const ModelConfig& config,
    const ExecutorInfo& executor, const DeviceFacts& device) {
  if (options.prefix_store_path.empty()) return PrefixStore::Options();
  DROVER_ASSIGN_OR_RETURN(const DType dtype, ParseDType(device.dtype));
  const int32_t context = executor.max_sequence_length;
  const int32_t wanted = options.max_prompt_prefix_length > 0
                             ? options.max_prompt_prefix_length
                             : (context + 1) / 2;
  const int64_t max_rows =
      kMaxPrefixBytes / (config.hidden_size * DTypeBytes(dtype));
  return PrefixStore::Options{
      .root = options.prefix_store_path,
      .shape = {.hidden_size = config.hidden_size,
                .max_tokens = static_cast<int32_t>(
                    std::min<int64_t>(std::min(wanted, context - 1), max_rows)),
                .dtype = dtype},
      .pad_id = config.pad_id,
      .max_bytes = options.prompt_cache_size_mb << 20};
}

ServiceOptions MakeServiceOptions(const ServeOptions& options,
                                  const ExecutorInfo& executor) {
  return ServiceOptions{
      .max_sequence_length = executor.max_sequence_length,
      .max_new_tokens = options.max_new_tokens,
      .max_concurrent_requests = options.max_concurrent_requests,
      .max_top_n_tokens = options.max_top_n_tokens,
      .max_pending_stream_bytes = options.max_pending_stream_bytes,
      .num_tokenization_threads = TokenizationWorkers(options),
      .num_emitter_threads = options.emitter_threads,
      .default_include_stop_sequences = options.default_include_stop_seqs,
      .output_special_tokens = options.output_special_tokens,
  };
}

}  // namespace drover
