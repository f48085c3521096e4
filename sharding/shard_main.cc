// drover-shard: one rank of the model. Started by `drover serve`, which it
// serves over the descriptor it inherits, or by an operator, and then it comes
// to the router's rendezvous. It ends when the router does.
//
// Its log goes to standard error, a level's letter before each line
// ("I loaded …"); the router that started it passes it on.

#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/cpu_affinity.h"
#include "base/status_macros.h"
#include "model/device_facts.h"
#include "model/model_config.h"
#include "model/model_executor.h"
#include "sharding/exit_status.h"
#include "sharding/group_member.h"
#include "sharding/serve_shard.h"
#include "sharding/shard_flags.h"
#ifdef DROVER_WITH_CUDA
#include "model/cuda/cuda_executor.h"
#endif

namespace drover {
namespace {

void StartLogging(const ShardOptions& options) {
  auto logger = spdlog::stderr_logger_mt("shard");
  // The router that started us tells the time itself.
  logger->set_pattern(options.rendezvous.empty() ? "%L %v"
                                                 : "%Y-%m-%d %T.%e %L %v");
  logger->set_level(spdlog::level::from_str(options.log_level));
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

// Of the visible ones. Who starts a rank for a rendezvous shows it its own.
int32_t GpuIndex(const ShardOptions& options) {
  return options.rendezvous.empty() ? options.rank / options.ranks_per_gpu : 0;
}

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

// The first rank says these for all.
void LogKvCache(const ExecutorInfo& info) {
  spdlog::info(
      "kv_cache blocks={} tokens={} slots={} max_sequence_length={} "
      "full_length_sequences={}",
      info.num_blocks - 1, int64_t{info.num_blocks - 1} * kBlockSize,
      info.num_slots, info.max_sequence_length, NumFullLengthSequences(info));
}

// The line by which to tell one rank from another.
void LogRank(const ShardOptions& options, const DeviceFacts& device,
             const ExecutorInfo& info, const LoadSummary& summary) {
  spdlog::info(
      "loaded model={} rank={} world_size={} device=\"{}\" cpus={} dtype={} "
      "parameters={} bytes={} read_bytes={} kv_blocks={} kv_mib={} "
      "seconds={:.3f}",
      options.model.empty() ? options.model_config : options.model,
      options.rank, options.world_size,
      options.device == "cuda"
          ? absl::StrCat("GPU ", GpuIndex(options), ", ", device.name)
          : device.name,
      CpuListString(UsableCpus()), device.dtype, summary.num_parameters,
      summary.num_bytes, summary.read_bytes, info.num_blocks - 1,
      device.kv_cache_bytes >> 20, absl::ToDoubleSeconds(summary.elapsed));
}

// Executor: ModelExecutor or CudaExecutor.
template <typename Executor>
void LogReady(const ShardOptions& options, const Executor& executor) {
  if constexpr (requires { executor.stages(); }) {
    for (const auto& stage : executor.stages()) {
      spdlog::info("start stage={} seconds={:.3f}", stage.name,
                   absl::ToDoubleSeconds(stage.elapsed));
    }
  }
  if constexpr (requires { executor.warnings(); }) {
    for (const std::string& warning : executor.warnings()) {
      spdlog::warn("{}", warning);
    }
  }
  if (options.rank == 0) {
    LogDevice(executor.device());
    LogKvCache(executor.info());
  }
  LogRank(options, executor.device(), executor.info(), executor.summary());
}

// What the process ends with.
int Conclude(const absl::Status& status) {
  if (status.ok()) return 0;
  spdlog::error("{}", std::string(status.message()));
  return absl::IsResourceExhausted(status) ? kExitDoesNotFit : 1;
}

// An operator's rank obeys SIGTERM only while it is in no group: the router
// drains first, and its end is theirs. (As a container's first process it would
// not be ended by the signal anyway.)
void EndOnSignal(int /*number*/) { std::_Exit(0); }

absl::StatusOr<GroupMember> JoinGroup(const std::string& fingerprint,
                                      ShardOptions& options) {
  if (options.rendezvous.empty()) return JoinLocalGroup(options);
  signal(SIGTERM, EndOnSignal);
  signal(SIGINT, EndOnSignal);
  DROVER_ASSIGN_OR_RETURN(GroupMember member,
                          JoinAtRendezvous(fingerprint, options));
  signal(SIGTERM, SIG_IGN);
  return member;
}

// Executor: ModelExecutor or CudaExecutor; ExecutorOptions: what it is made of.
template <typename Executor, typename ExecutorOptions>
absl::Status Serve(const GroupMember& member, const ShardOptions& options,
                   const std::string& fingerprint,
                   const ExecutorOptions& executor_options,
                   const RouterStream::OnOver& on_over = {}) {
  const absl::StatusOr<std::unique_ptr<Executor>> executor =
      Executor::Create(executor_options, ProgressLog());
  if (!executor.ok()) {
    if (member.stream != nullptr) member.stream->Fail(executor.status());
    return executor.status();
  }
  if (member.collective != nullptr) {
    member.set_patience(absl::Seconds(options.group_patience_seconds));
  }
  LogReady(options, **executor);
  const DeviceFacts& device = (*executor)->device();
  return member.stream != nullptr
             ? member.stream->Serve(**executor, device, on_over)
             : ServeShard(**executor, device, DROVER_VERSION, fingerprint,
                          options.router_fd);
}

absl::Status ServeCpu(ShardOptions options, const std::string& fingerprint) {
  DROVER_ASSIGN_OR_RETURN(const GroupMember member,
                          JoinGroup(fingerprint, options));
  options.executor.collective = member.collective;
  return Serve<ModelExecutor>(member, options, fingerprint, options.executor);
}

#ifdef DROVER_WITH_CUDA

// A lost rank's device leaves the others' waiting, and whoever waits for these.
void EndProcess(const absl::Status& status) {
  const int code = Conclude(status);
  spdlog::default_logger()->flush();
  std::_Exit(code);
}

absl::Status ServeCuda(ShardOptions options, const std::string& fingerprint) {
  // Before the group's threads, which stay where they are.
  const absl::Status near = StayNearGpu(GpuIndex(options));
  if (!near.ok()) {
    spdlog::warn("the threads do not stay on the CPUs near GPU {}: {}",
                 GpuIndex(options), std::string(near.message()));
  }
  DROVER_ASSIGN_OR_RETURN(const GroupMember member,
                          JoinGroup(fingerprint, options));
  options.executor.collective = member.collective;
  return Serve<CudaExecutor>(
      member, options, fingerprint,
      CudaExecutorOptions{.model = options.executor,
                          .gpu_memory_fraction = options.gpu_memory_fraction,
                          .device = GpuIndex(options),
                          .max_top_n = options.max_top_n,
                          .shares_memory = !options.by_nccl,
                          .shares_gpu = options.ranks_per_gpu > 1},
      EndProcess);
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

// `drover serve` knows models by their hub ids and gives its shards a folder;
// operators may expect the same of a shard.
absl::Status CheckModelFolder(const ShardOptions& options) {
  std::error_code ignored;
  if (options.model.empty() ||
      std::filesystem::is_directory(options.model, ignored)) {
    return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat(
      "--model ", options.model,
      ": no such folder; a shard takes no hub id: `drover download-weights ",
      options.model, "` says which folder of Hugging Face's cache has it"));
}

absl::Status RunShard(ShardOptions options) {
  DROVER_RETURN_IF_ERROR(options.Validate());
  DROVER_RETURN_IF_ERROR(CheckModelFolder(options));
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
  options.device = UsesCuda(options) ? "cuda" : "cpu";
  if (options.device == "cuda") {
    return ServeCuda(std::move(options), fingerprint);
  }
  return ServeCpu(std::move(options), fingerprint);
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  CLI::App app(
      "One rank of a Drover model; started by `drover serve`, or by an "
      "operator "
      "for `drover serve --rendezvous`.");
  drover::ShardOptions options;
  drover::AddShardFlags(app, options);
  CLI11_PARSE(app, argc, argv);
  drover::StartLogging(options);
  const absl::Status status = drover::RunShard(std::move(options));
  return drover::Conclude(status);
}
