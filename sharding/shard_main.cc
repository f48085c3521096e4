// drover-shard: one rank of the model. Started by `drover serve`, which it
// serves over the descriptor it inherits, and ends when the router does.
//
// Its log goes to standard error, a level's letter before each line
// ("I loaded …"); the router passes it on.

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/device_facts.h"
#include "model/model_config.h"
#include "model/model_executor.h"
#include "sharding/exit_status.h"
#include "sharding/ranks/shared_memory.h"
#include "sharding/ranks/shared_memory_collective.h"
#include "sharding/serve_shard.h"
#ifdef DROVER_WITH_CUDA
#include "model/cuda/cuda_executor.h"
#endif

namespace drover {
namespace {

struct ShardOptions {
  std::string model;
  std::string load_format = "safetensors";
  std::string model_config;
  std::string dtype;
  std::string log_level = "info";
  std::string device = "auto";
  double gpu_memory_fraction = 0.9;
  int32_t max_top_n = 10;
  int router_fd = -1;
  int32_t rank = 0;
  int32_t world_size = 1;
  int group_fd = -1;
  int32_t group_patience_seconds = 60;
  ModelExecutorOptions executor;
};

void Describe(CLI::App& app, ShardOptions& options) {
  app.set_version_flag("--version",
                       std::string("drover-shard ") + DROVER_VERSION);
  app.add_option("--router-fd", options.router_fd,
                 "Connected socket of the router that started this process")
      ->required();
  app.add_option("--rank", options.rank, "Which part of the model this has");
  app.add_option("--world-size", options.world_size,
                 "How many shards run the model together");
  app.add_option("--group-fd", options.group_fd,
                 "Memory that these share, made by the router");
  app.add_option("--group-patience-seconds", options.group_patience_seconds,
                 "How long one of them waits for another in a step");
  app.add_option("--model", options.model,
                 "Folder with config.json and safetensors");
  app.add_option("--load-format", options.load_format,
                 "safetensors, or dummy for random weights")
      ->check(CLI::IsMember({"safetensors", "dummy"}));
  app.add_option("--model-config", options.model_config,
                 "Shape of dummy weights, by name");
  app.add_option("--dtype", options.dtype,
                 "float32, bfloat16 or, on a GPU, float16; default: the "
                 "model's own");
  app.add_option("--device", options.device,
                 "cpu, cuda, or auto: a GPU where there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--gpu-memory-fraction", options.gpu_memory_fraction,
                 "Of the GPU's memory, for weights, activations and KV cache");
  app.add_option("--max-top-n", options.max_top_n,
                 "Most entries of best tokens that a request may ask for");
  app.add_option("--kv-cache-bytes", options.executor.kv_cache_bytes,
                 "Memory of the KV cache; 0: a quarter of what there is, or "
                 "what is left on a GPU");
  app.add_option("--num-slots", options.executor.num_slots,
                 "Sequences that run at once");
  app.add_option("--max-step-tokens", options.executor.max_step_tokens,
                 "Tokens in one step, all sequences together");
  app.add_option("--max-sequence-length", options.executor.max_sequence_length,
                 "Longest sequence; 0: the model's own limit");
  app.add_option("--threads", options.executor.num_threads,
                 "Threads of a step; 0: one for each CPU");
  app.add_option("--log-level", options.log_level,
                 "debug, info, warning or error");
}

void StartLogging(const std::string& level) {
  auto logger = spdlog::stderr_logger_mt("shard");
  logger->set_pattern("%L %v");
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

// A quarter of the weights at a time is news; the rest is not.
class ProgressLog {
 public:
  void operator()(const LoadProgress& progress) {
    if (progress.total_bytes == 0) return;
    const int64_t quarter = 4 * progress.done_bytes / progress.total_bytes;
    if (quarter == last_quarter_) return;
    last_quarter_ = quarter;
    spdlog::info("loading {}: {} of {} MiB", progress.stage,
                 progress.done_bytes >> 20, progress.total_bytes >> 20);
  }

 private:
  int64_t last_quarter_ = 0;
};

void LogDevice(const DeviceFacts& device) {
  if (device.driver.empty()) {
    spdlog::info("device name=\"{}\" threads={} memory_mib={}", device.name,
                 device.num_threads, device.memory_bytes >> 20);
    return;
  }
  spdlog::info(
      "device name=\"{}\" compute_capability={} driver=\"{}\" memory_mib={} "
      "free_mib_at_start={} free_mib={}",
      device.name, device.compute_capability, device.driver,
      device.memory_bytes >> 20, device.free_bytes_at_start >> 20,
      device.free_bytes >> 20);
}

// Executor: ModelExecutor or CudaExecutor.
template <typename Executor>
void LogReady(const ShardOptions& options, const Executor& executor) {
  LogDevice(executor.device());
  const ExecutorInfo& info = executor.info();
  spdlog::info(
      "kv_cache blocks={} tokens={} mib={} slots={} max_sequence_length={} "
      "full_length_sequences={}",
      info.num_blocks - 1, int64_t{info.num_blocks - 1} * kBlockSize,
      executor.device().kv_cache_bytes >> 20, info.num_slots,
      info.max_sequence_length, NumFullLengthSequences(info));
  const LoadSummary& summary = executor.summary();
  spdlog::info("loaded model={} parameters={} bytes={} dtype={} seconds={:.3f}",
               options.model.empty() ? options.model_config : options.model,
               summary.num_parameters, summary.num_bytes,
               DTypeName(executor.dtype()),
               absl::ToDoubleSeconds(summary.elapsed));
}

// While they load, ranks wait for the slowest.
constexpr absl::Duration kLoadPatience = absl::Minutes(10);

// This rank's place in its group.
struct Membership {
  std::unique_ptr<SharedMemory> memory;
  std::shared_ptr<SharedMemoryCollective> collective;
};

absl::StatusOr<Membership> JoinGroup(const ShardOptions& options) {
  if (options.rank < 0 || options.rank >= options.world_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--rank ", options.rank, ": expected 0 to ", options.world_size - 1));
  }
  Membership membership;
  DROVER_ASSIGN_OR_RETURN(
      membership.memory,
      SharedMemory::Map(options.group_fd, SharedMemoryCollective::RegionBytes(
                                              options.world_size)));
  membership.collective = std::make_shared<SharedMemoryCollective>(
      membership.memory->data(), options.rank, options.world_size,
      kLoadPatience);
  return membership;
}

absl::Status ServeCpu(ShardOptions options, const std::string& fingerprint) {
  Membership membership;  // outlives the executor
  if (options.world_size > 1) {
    DROVER_ASSIGN_OR_RETURN(membership, JoinGroup(options));
    options.executor.collective = membership.collective;
  }
  DROVER_ASSIGN_OR_RETURN(
      const std::unique_ptr<ModelExecutor> executor,
      ModelExecutor::Create(options.executor, ProgressLog()));
  if (membership.collective != nullptr) {
    membership.collective->set_patience(
        absl::Seconds(options.group_patience_seconds));
  }
  LogReady(options, *executor);
  return ServeShard(*executor, executor->device(), DROVER_VERSION, fingerprint,
                    options.router_fd);
}

#ifdef DROVER_WITH_CUDA

absl::Status ServeCuda(const ShardOptions& options,
                       const std::string& fingerprint) {
  CudaExecutorOptions cuda_options;
  cuda_options.model = options.executor;
  cuda_options.gpu_memory_fraction = options.gpu_memory_fraction;
  cuda_options.max_top_n = options.max_top_n;
  DROVER_ASSIGN_OR_RETURN(const std::unique_ptr<CudaExecutor> executor,
                          CudaExecutor::Create(cuda_options, ProgressLog()));
  for (const StartupStage& stage : executor->stages()) {
    spdlog::info("start stage={} seconds={:.3f}", stage.name,
                 absl::ToDoubleSeconds(stage.elapsed));
  }
  LogReady(options, *executor);
  return ServeShard(*executor, executor->device(), DROVER_VERSION, fingerprint,
                    options.router_fd);
}

// A GPU that is there and cannot be used is no reason for `auto` to refuse, but
// one to say so: the CPU is slower by far. `cuda` refuses.
bool UsesCuda(const ShardOptions& options) {
  if (options.device != "auto") return options.device == "cuda";
  const absl::Status gpu = CudaDeviceStatus();
  if (!gpu.ok() && !absl::IsNotFound(gpu)) {
    spdlog::warn("the model runs on the CPU (--device auto): {}",
                 std::string(gpu.message()));
  }
  return gpu.ok();
}

#else

absl::Status ServeCuda(const ShardOptions&, const std::string&) {
  return absl::InvalidArgumentError(
      "--device cuda: this program was built for the CPU only");
}

bool UsesCuda(const ShardOptions& options) { return options.device == "cuda"; }

#endif  // DROVER_WITH_CUDA

absl::Status RunShard(ShardOptions options) {
  std::string fingerprint;
  if (options.load_format == "dummy") {
    absl::StatusOr<ModelConfig> config =
        options.model_config.empty() ? LoadModelConfig(options.model)
                                     : NamedModelConfig(options.model_config);
    if (!config.ok()) return config.status();
    fingerprint = ModelFingerprint(*config);
    options.executor.dummy = *std::move(config);
  } else {
    DROVER_ASSIGN_OR_RETURN(fingerprint, ModelFingerprint(options.model));
    options.executor.model_dir = options.model;
  }
  if (!options.dtype.empty()) {
    DROVER_ASSIGN_OR_RETURN(options.executor.dtype, ParseDType(options.dtype));
  }
  if (UsesCuda(options)) {
    if (options.world_size > 1) {
      return absl::UnimplementedError(
          "more than one shard runs on the CPU only: --device cpu");
    }
    return ServeCuda(options, fingerprint);
  }
  return ServeCpu(std::move(options), fingerprint);
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  CLI::App app("One rank of a Drover model; started by `drover serve`.");
  drover::ShardOptions options;
  drover::Describe(app, options);
  CLI11_PARSE(app, argc, argv);
  drover::StartLogging(options.log_level);
  const absl::Status status = drover::RunShard(std::move(options));
  if (status.ok()) return 0;
  spdlog::error("{}", std::string(status.message()));
  return absl::IsResourceExhausted(status) ? drover::kExitDoesNotFit : 1;
}
