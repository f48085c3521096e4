#include "server/serve.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "base/bounded_queue.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/openmp_settings.h"
#include "server/health.h"
#include "server/http_endpoint.h"
#include "server/listen_address.h"
#include "server/logging.h"
#include "server/metrics.h"
#include "server/observer_list.h"
#include "server/process_files.h"
#include "server/request_log.h"
#include "server/router.h"
#include "server/served_model.h"
#include "server/signal_listener.h"
#include "sharding/exit_status.h"
#include "sharding/shard_group.h"

namespace drover {
namespace {

// For last messages to reach clients that read slowly, once nothing generates.
constexpr absl::Duration kFlushGrace = absl::Seconds(3);
// How often a drain looks whether it was cut short.
constexpr absl::Duration kDrainTick = absl::Milliseconds(50);

struct SignalReceived {
  int number = 0;
};
struct ExecutorLost {
  absl::Status status;
};
using Event = std::variant<SignalReceived, ExecutorLost>;

// OK if there are only signals.
absl::Status FirstLoss(const std::vector<Event>& events) {
  for (const Event& event : events) {
    if (const auto* lost = std::get_if<ExecutorLost>(&event)) {
      return lost->status;
    }
  }
  return absl::OkStatus();
}

class ServeProcess {
 public:
  ServeProcess(const ServeOptions& options, Logger& logger)
      : options_(options), logger_(logger) {}
  ~ServeProcess() { health_.StopProbing(); }

  // Until it is ready.
  absl::Status Start();
  // Until it has ended; the error is why it had to.
  absl::Status ServeUntilEnd();

 private:
  absl::Status CheckPorts() const;
  absl::Status StartHttp();
  absl::Status LaunchShard();
  void WarnOfMissingPrefixes();
  absl::Status StartRouter();
  absl::Status AnnounceReady();

  void OnSignal(int number);
  void LogShardLine(char level, std::string_view text);
  // What runs may finish; the error is a loss of the shard meanwhile.
  absl::Status Drain();

  const ServeOptions options_;
  Logger& logger_;
  BoundedQueue<Event> events_{64};
  std::atomic<bool> is_starting_{true};
  Health health_;
  RequestLog request_log_{logger_};
  ServedModel model_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<ObserverList> observers_;
  std::unique_ptr<HttpEndpoint> http_;
  std::unique_ptr<ShardGroup> shards_;
  std::unique_ptr<Router> router_;
  std::optional<SignalListener> signals_;
};

absl::Status ServeProcess::Start() {
  signals_.emplace([this](int number) { OnSignal(number); });
  DROVER_RETURN_IF_ERROR(CheckPorts());
  DROVER_RETURN_IF_ERROR(MakeServerCredentials(options_.tls).status());
  DROVER_ASSIGN_OR_RETURN(model_, LoadServedModel(options_));
  DROVER_RETURN_IF_ERROR(StartHttp());
  DROVER_RETURN_IF_ERROR(LaunchShard());
  DROVER_RETURN_IF_ERROR(StartRouter());
  return AnnounceReady();
}

absl::Status ServeProcess::CheckPorts() const {
  DROVER_RETURN_IF_ERROR(
      CheckCanListen("--grpc-port", options_.host, options_.grpc_port));
  return CheckCanListen("--port", options_.host, options_.port);
}

absl::Status ServeProcess::StartHttp() {
  const auto context =
      static_cast<int32_t>(model_.config.max_position_embeddings);
  metrics_ = std::make_unique<Metrics>(
      Metrics::Options{.max_sequence_length = options_.max_sequence_length > 0
                                                  ? options_.max_sequence_length
                                                  : context,
                       .max_new_tokens = options_.max_new_tokens,
                       .max_batch_size = options_.max_batch_size});
  observers_ = std::make_unique<ObserverList>(
      std::vector<RequestObserver*>{metrics_.get(), &request_log_});
  DROVER_ASSIGN_OR_RETURN(
      http_,
      HttpEndpoint::Start({.host = options_.host, .port = options_.port},
                          health_, [this] { return metrics_->Render(); }));
  return absl::OkStatus();
}

absl::Status ServeProcess::LaunchShard() {
  const std::string binary = options_.shard_binary.empty()
                                 ? ProgramBesideThis("drover-shard")
                                 : options_.shard_binary;
  ShardGroup::Options group;
  group.shard_binary = binary;
  group.shard_args = ShardArgs(options_);
  group.num_shards = options_.num_shard;
  group.patience = absl::Seconds(options_.shard_patience_seconds);
  if (!options_.rendezvous.empty()) {
    DROVER_ASSIGN_OR_RETURN(const HostPort address,
                            ParseHostPort("--rendezvous", options_.rendezvous));
    group.rendezvous = {.address = address,
                        .security = options_.rendezvous_security,
                        .settings = MakeShardSettings(options_)};
  }
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) {
    group.shard_default_env = {
        StrCat(kOpenMpSpinVariable, "=", kOpenMpSpinCount)};
  }
  group.model_fingerprint = model_.fingerprint;
  group.start_timeout = absl::Seconds(options_.shard_start_timeout_seconds);
  group.on_log = [this](char level, std::string_view text) {
    LogShardLine(level, text);
  };
  auto launched = ShardGroup::Launch(std::move(group));
  if (absl::IsNotFound(launched.status())) {
    return absl::NotFoundError(
        StrCat(std::string(launched.status().message()),
               "; build drover-shard, or name it with --shard-binary"));
  }
  DROVER_ASSIGN_OR_RETURN(shards_, std::move(launched));
  return absl::OkStatus();
}

// Whoever mounts it may still be at it, so that it is no reason to give up.
void ServeProcess::WarnOfMissingPrefixes() {
  const std::string& path = options_.prefix_store_path;
  std::error_code ignored;
  if (path.empty() || std::filesystem::is_directory(path, ignored)) return;
  logger_.Warning("no such folder", {{"prefix_store_path", path}});
}

absl::Status ServeProcess::StartRouter() {
  WarnOfMissingPrefixes();
  const ExecutorInfo& info = shards_->info();
  const int64_t wanted = options_.max_sequence_length > 0
                             ? options_.max_sequence_length
                             : model_.config.max_position_embeddings;
  if (info.max_sequence_length < wanted) {
    logger_.Warning("max_sequence_length lowered to what the KV cache holds",
                    {{"wanted", wanted},
                     {"max_sequence_length", info.max_sequence_length}});
  }
  Router::Options router;
  router.service = MakeServiceOptions(options_, info);
  router.scheduler.max_batch_size = options_.max_batch_size;
  // As many again: who cancelled may still have a place, but no permit.
  router.scheduler.max_queue_len = 2 * options_.max_concurrent_requests;
  router.scheduler.target_step_time =
      absl::Milliseconds(options_.target_step_ms);
  router.scheduler.spread_prompts = options_.spread_prompts;
  router.scheduler.eos_ids = model_.config.eos_ids;
  router.front = {.host = options_.host,
                  .port = options_.grpc_port,
                  .max_message_bytes = options_.max_message_bytes,
                  .max_metadata_bytes = options_.max_metadata_bytes,
                  .tls = options_.tls};
  router.device = shards_->device();
  DROVER_ASSIGN_OR_RETURN(
      router.prefixes,
      MakePrefixOptions(options_, model_.config, info, router.device));
  router.scheduler.max_prefix_bytes = router.prefixes.max_bytes;
  router.on_executor_lost = [this](const absl::Status& status) {
    events_.Push(ExecutorLost{status});
  };
  DROVER_ASSIGN_OR_RETURN(
      router_, Router::Start(router, *shards_, *model_.tokenizer, *metrics_,
                             *observers_));
  health_.MarkReady([this] { return router_->IsLive(); });
  is_starting_ = false;
  return absl::OkStatus();
}

absl::Status ServeProcess::AnnounceReady() {
  if (!options_.ready_file.empty()) {
    DROVER_RETURN_IF_ERROR(
        WriteReadyFile(options_.ready_file, {.pid = getpid(),
                                             .grpc_port = router_->grpc_port(),
                                             .http_port = http_->port()}));
  }
  const int32_t max_sequence_length = shards_->info().max_sequence_length;
  logger_.Info("ready",
               {{"model", model_.name},
                {"grpc", JoinHostPort(options_.host, router_->grpc_port())},
                {"http", JoinHostPort(options_.host, http_->port())},
                {"num_shard", options_.num_shard},
                {"max_sequence_length", max_sequence_length},
                {"seconds_since_start", absl::ToDoubleSeconds(ProcessAge())}});
  return absl::OkStatus();
}

absl::Status ServeProcess::ServeUntilEnd() {
  absl::Status cause = FirstLoss(events_.PopAll());
  if (cause.ok()) {
    health_.MarkDraining();
    cause = Drain();
  } else {
    health_.MarkFailed();
  }
  router_->EndOpenRequests();
  router_->Shutdown(kFlushGrace);
  health_.StopProbing();
  router_.reset();
  // Requests end before their loss is told: a drain may have seen only that.
  if (cause.ok() && events_.size() > 0) cause = FirstLoss(events_.PopAll());
  shards_.reset();
  http_.reset();
  return cause;
}

absl::Status ServeProcess::Drain() {
  const int num_open = router_->num_open_requests();
  logger_.Info("draining", {{"open_requests", num_open},
                            {"max_seconds", options_.max_drain_seconds}});
  router_->StopAdmitting();
  const Clock& clock = Clock::Monotonic();
  const absl::Time deadline =
      clock.Now() + absl::Seconds(options_.max_drain_seconds);
  while (!router_->WaitUntilIdle(kDrainTick)) {
    // Another signal, or the loss of the shard: no more waiting.
    if (events_.size() > 0) return FirstLoss(events_.PopAll());
    if (clock.Now() < deadline) continue;
    logger_.Warning("drain time is over; ending the rest",
                    {{"open_requests", router_->num_open_requests()}});
    break;
  }
  return absl::OkStatus();
}

void ServeProcess::OnSignal(int number) {
  logger_.Info("signal received", {{"signal", strsignal(number)}});
  // Nobody waits for an answer yet, and loading cannot be interrupted; the
  // kernel ends the shard with us.
  if (is_starting_) std::_Exit(0);
  events_.Push(SignalReceived{number});
}

void ServeProcess::LogShardLine(char level, std::string_view text) {
  const std::string message = StrCat("shard: ", text);
  switch (level) {
    case 'D':
      return logger_.Debug(message);
    case 'I':
      return logger_.Info(message);
    case 'E':
      // What it says before it gives up comes back as the cause.
      return is_starting_ ? logger_.Debug(message) : logger_.Error(message);
    default:
      return logger_.Warning(message);
  }
}

Logger::Options LoggerOptions(const ServeOptions& options) {
  return {.format = *ParseLogFormat(options.log_format),
          .level = *ParseLogLevel(options.log_level)};
}

void LogOptions(Logger& logger, const ServeOptions& o) {
  logger.Debug("options",
               {{"model", o.model},
                {"dtype", o.dtype},
                {"load_format", o.load_format},
                {"model_config", o.model_config},
                {"max_sequence_length", o.max_sequence_length},
                {"max_new_tokens", o.max_new_tokens},
                {"max_batch_size", o.max_batch_size},
                {"max_concurrent_requests", o.max_concurrent_requests},
                {"max_top_n_tokens", o.max_top_n_tokens},
                {"num_shard", o.num_shard},
                {"max_step_tokens", o.max_step_tokens},
                {"target_step_ms", o.target_step_ms},
                {"spread_prompts", o.spread_prompts},
                {"kv_cache_bytes", o.kv_cache_bytes},
                {"threads", o.threads},
                {"emitter_threads", o.emitter_threads},
                {"tokenization_workers", o.tokenization_workers.value_or(0)},
                {"max_pending_stream_bytes", o.max_pending_stream_bytes},
                {"max_message_bytes", o.max_message_bytes},
                {"max_metadata_bytes", o.max_metadata_bytes},
                {"default_include_stop_seqs", o.default_include_stop_seqs},
                {"output_special_tokens", o.output_special_tokens},
                {"raw_logprobs", o.raw_logprobs},
                {"host", o.host},
                {"grpc_port", o.grpc_port},
                {"port", o.port},
                {"tls_cert_path", o.tls.cert_path},
                {"tls_key_path", o.tls.key_path},
                {"tls_client_ca_cert_path", o.tls.client_ca_cert_path},
                {"max_drain_seconds", o.max_drain_seconds},
                {"prefix_store_path", o.prefix_store_path},
                {"max_prompt_prefix_length", o.max_prompt_prefix_length},
                {"prompt_cache_size_mb", o.prompt_cache_size_mb}});
}

void Report(const ServeOptions& options, Logger& logger, std::string_view what,
            const absl::Status& cause) {
  logger.Error(what, {{"cause", std::string(cause.message())}});
  WriteTerminationLog(
      options.termination_log,
      StrCat(what, ": ",
             std::string_view(cause.message().data(), cause.message().size())));
}

}  // namespace

int RunServe(const ServeOptions& given) {
  signal(SIGPIPE, SIG_IGN);
  ServeOptions options = given;
  Logger logger(LoggerOptions(options));
  logger.BecomeSpdlogDefault();
  LogOptions(logger, options);
  for (const std::string& option : options.without_effect) {
    logger.Warning("option without effect here", {{"option", option}});
  }
  if (const absl::Status found = FindModel(options); !found.ok()) {
    Report(options, logger, "cannot start", found);
    return 1;
  }
  ServeProcess process(options, logger);
  if (const absl::Status started = process.Start(); !started.ok()) {
    Report(options, logger, "cannot start", started);
    return absl::IsResourceExhausted(started) ? kExitDoesNotFit : 1;
  }
  if (const absl::Status ended = process.ServeUntilEnd(); !ended.ok()) {
    Report(options, logger, "the shard is lost", ended);
    return 1;
  }
  logger.Info("ended");
  return 0;
}

}  // namespace drover
