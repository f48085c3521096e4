#include "server/metrics.h"

#include <array>
#include <map>
#include <utility>

#include "prometheus/text_serializer.h"
#include "server/metric_factory.h"

namespace drover {
namespace {

using prometheus::Gauge;
using prometheus::Histogram;

constexpr std::array kCallKinds = {CallKind::kSingle, CallKind::kBatch,
                                   CallKind::kStream};
constexpr std::array kFailureKinds = {
    FailureKind::kConcurrencyLimit, FailureKind::kQueueFull,
    FailureKind::kValidation,       FailureKind::kGenerate,
    FailureKind::kCancelled,        FailureKind::kTimeout,
    FailureKind::kShuttingDown,     FailureKind::kSlowReader,
};

std::map<CallKind, DualCounter> CallCounters(MetricFactory& add) {
  std::map<CallKind, DualCounter> counters;
  for (const CallKind kind : kCallKinds) {
    counters.emplace(
        kind, add.AddCounter("tgi_request_count", "Calls received",
                             {{"kind", std::string(CallKindName(kind))}}));
  }
  return counters;
}

using SuccessKey = std::pair<fmaas::StopReason, CallKind>;

std::map<SuccessKey, DualCounter> SuccessCounters(MetricFactory& add) {
  std::map<SuccessKey, DualCounter> counters;
  for (const auto reason :
       {fmaas::MAX_TOKENS, fmaas::EOS_TOKEN, fmaas::TIME_LIMIT,
        fmaas::STOP_SEQUENCE, fmaas::TOKEN_LIMIT}) {
    for (const CallKind kind : kCallKinds) {
      counters.emplace(
          SuccessKey(reason, kind),
          add.AddCounter("tgi_request_success", "Inputs finished",
                         {{"stop_reason", fmaas::StopReason_Name(reason)},
                          {"kind", std::string(CallKindName(kind))}}));
    }
  }
  return counters;
}

std::map<FailureKind, DualCounter> FailureCounters(MetricFactory& add) {
  std::map<FailureKind, DualCounter> counters;
  for (const FailureKind kind : kFailureKinds) {
    counters.emplace(
        kind, add.AddCounter("tgi_request_failure", "Requests that failed",
                             {{"err", std::string(FailureKindName(kind))}}));
  }
  add.AddCounter("tgi_request_failure", "Requests that failed",
                 {{"err", "unknown"}});
  return counters;
}

void ObserveSeconds(Histogram& histogram, absl::Duration duration) {
  histogram.Observe(absl::ToDoubleSeconds(duration));
}

// What the steps with a prompt chunk in them count under one label, and those
// of decodes alone under another.
struct MethodFamilies {
  MethodFamilies(MetricFactory& add, const std::string& method,
                 int32_t max_batch_size)
      : count(add.AddCounter("tgi_batch_inference_count", "Engine steps",
                             {{"method", method}})),
        success(add.AddCounter("tgi_batch_inference_success",
                               "Engine steps that succeeded",
                               {{"method", method}})),
        out_of_memory(FailureCounter(add, method, "oom")),
        lost(FailureCounter(add, method, "connection")),
        failed(FailureCounter(add, method, "error")),
        duration(add.AddHistogram(
            "tgi_batch_inference_duration",
            "Seconds from a step's submission to its result", DurationBounds(),
            {{"method", method}, {"makeup", "single_only"}})),
        forward(add.AddHistogram(
            "tgi_batch_inference_forward_duration",
            "Seconds of the forward on the device", DurationBounds(),
            {{"method", method}, {"makeup", "single_only"}})),
        token_processing(add.AddHistogram(
            "tgi_batch_inference_tokproc_duration",
            "Seconds of choosing tokens on the device", DurationBounds(),
            {{"method", method}, {"makeup", "single_only"}})),
        batch_size(add.AddHistogram(
            "tgi_batch_inference_batch_size", "Sequences in a step",
            UnitBounds(max_batch_size), {{"method", method}})) {}

  static DualCounter FailureCounter(MetricFactory& add,
                                    const std::string& method,
                                    const std::string& reason) {
    return add.AddCounter("tgi_batch_inference_failure",
                          "Engine steps that failed",
                          {{"method", method}, {"reason", reason}});
  }

  void Observe(const StepStats& stats) {
    count.Increment();
    success.Increment();
    ObserveSeconds(duration, stats.step_time);
    ObserveSeconds(forward, stats.forward_time);
    ObserveSeconds(token_processing, stats.sampling_time);
    batch_size.Observe(stats.num_prefill_sequences +
                       stats.num_decode_sequences);
  }

  void CountFailure(const absl::Status& status) {
    count.Increment();
    if (absl::IsResourceExhausted(status)) {
      out_of_memory.Increment();
    } else if (absl::IsUnavailable(status)) {
      lost.Increment();
    } else {
      failed.Increment();
    }
  }

  DualCounter count;
  DualCounter success;
  DualCounter out_of_memory;
  DualCounter lost;
  DualCounter failed;
  Histogram& duration;
  Histogram& forward;
  Histogram& token_processing;
  Histogram& batch_size;
};

}  // namespace

struct Metrics::RequestFamilies {
  RequestFamilies(MetricFactory add, const Options& options)
      : calls(CallCounters(add)),
        inputs(add.AddCounter("tgi_request_input_count", "Inputs received")),
        success(SuccessCounters(add)),
        failure(FailureCounters(add)),
        duration(add.AddHistogram("tgi_request_duration",
                                  "Seconds from arrival to the last token",
                                  DurationBounds())),
        validation(add.AddHistogram("tgi_request_validation_duration",
                                    "Seconds of validation and tokenization",
                                    DurationBounds())),
        queue(add.AddHistogram("tgi_request_queue_duration",
                               "Seconds from validated to part of a step",
                               DurationBounds())),
        inference(add.AddHistogram(
            "tgi_request_inference_duration",
            "Seconds from part of a step to the last token", DurationBounds())),
        mean_time_per_token(add.AddHistogram(
            "tgi_request_mean_time_per_token_duration",
            "Seconds of inference per generated token", DurationBounds())),
        time_to_first_token(add.AddHistogram(
            "tgi_time_to_first_token_duration",
            "Seconds from arrival to the first token", DurationBounds())),
        inter_token(add.AddHistogram("tgi_inter_token_duration",
                                     "Seconds between two tokens",
                                     DurationBounds())),
        raw_input_length(add.AddHistogram("tgi_request_raw_input_length",
                                          "Prompt tokens before truncation",
                                          PowerOfTwoBounds(0, 19))),
        input_length(
            add.AddHistogram("tgi_request_input_length", "Prompt tokens",
                             LinearBounds(options.max_sequence_length))),
        total_tokens(add.AddHistogram(
            "tgi_request_total_tokens", "Prompt and generated tokens",
            LinearBounds(options.max_sequence_length))),
        generated_tokens(
            add.AddHistogram("tgi_request_generated_tokens", "Generated tokens",
                             LinearBounds(options.max_new_tokens))),
        max_new_tokens(add.AddHistogram("tgi_request_max_new_tokens",
                                        "Generated tokens asked for at most",
                                        LinearBounds(options.max_new_tokens))),
        prefix_failures(add.AddCounter("tgi_prompt_load_failure",
                                       "Soft prompts that could not be "
                                       "loaded")),
        prefix_load(add.AddHistogram("tgi_prompt_load_duration",
                                     "Seconds of loading a soft prompt",
                                     DurationBounds())) {}

  std::map<CallKind, DualCounter> calls;
  DualCounter inputs;
  std::map<SuccessKey, DualCounter> success;
  std::map<FailureKind, DualCounter> failure;
  Histogram& duration;
  Histogram& validation;
  Histogram& queue;
  Histogram& inference;
  Histogram& mean_time_per_token;
  Histogram& time_to_first_token;
  Histogram& inter_token;
  Histogram& raw_input_length;
  Histogram& input_length;
  Histogram& total_tokens;
  Histogram& generated_tokens;
  Histogram& max_new_tokens;
  DualCounter prefix_failures;
  Histogram& prefix_load;
};

struct Metrics::TokenizeFamilies {
  explicit TokenizeFamilies(MetricFactory add)
      : calls(add.AddCounter("tgi_tokenize_request_count",
                             "Tokenize calls received")),
        inputs(add.AddCounter("tgi_tokenize_request_input_count",
                              "Texts to tokenize received")),
        tokens(add.AddHistogram("tgi_tokenize_request_tokens",
                                "Tokens of a text", PowerOfTwoBounds(6, 19))),
        duration(add.AddHistogram("tgi_tokenize_request_duration",
                                  "Seconds of a Tokenize call",
                                  DurationBounds())) {}

  DualCounter calls;
  DualCounter inputs;
  Histogram& tokens;
  Histogram& duration;
};

struct Metrics::StepFamilies {
  StepFamilies(MetricFactory add, const Options& options)
      : prefill(add, "prefill", options.max_batch_size),
        next_token(add, "next_token", options.max_batch_size),
        concatenations(add.AddCounter("tgi_batch_concatenation_count",
                                      "Steps in which new requests joined "
                                      "running ones")),
        preemptions(add.AddCounter("tgi_preemption_count",
                                   "Sequences preempted for lack of KV "
                                   "blocks")),
        queue_jumps(add.AddCounter("tgi_queue_jump",
                                   "Requests that started while one that had "
                                   "come earlier still waited")),
        prefill_tokens(add.AddHistogram("tgi_batch_next_tokens",
                                        "Prompt tokens in a step that has any",
                                        PowerOfTwoBounds(0, 19))),
        queue_size(add.AddGauge("tgi_queue_size",
                                "Requests waiting for their first step")),
        current_size(
            add.AddGauge("tgi_batch_current_size", "Sequences running")),
        input_tokens(add.AddGauge("tgi_batch_input_tokens",
                                  "Tokens of running sequences in the KV "
                                  "cache")),
        remaining_tokens(add.AddGauge("tgi_batch_max_remaining_tokens",
                                      "Tokens that running sequences may "
                                      "still generate, in sum")),
        kv_usage(add.AddGauge("tgi_kv_cache_usage_ratio",
                              "Share of the KV blocks in use, 0 to 1")) {
    AddDecisionsNeverTaken(add);
  }

  // TGIS's scheduler decides these; ours has no such step.
  static void AddDecisionsNeverTaken(MetricFactory& add) {
    add.AddCounter("tgi_granular_batch_addition",
                   "Requests admitted by the exact memory test");
    add.AddCounter("tgi_prefill_weight_limit_exceeded",
                   "Prefills cut short by the weight limit");
    add.AddCounter("tgi_prefill_padding_limit_exceeded",
                   "Prefills cut short by the padding limit");
    add.AddCounter("tgi_prefix_cache_hit_tokens",
                   "Prompt tokens found in the prefix cache");
  }

  MethodFamilies prefill;
  MethodFamilies next_token;
  DualCounter concatenations;
  DualCounter preemptions;
  int64_t preemptions_counted = 0;  // the engine's thread only
  DualCounter queue_jumps;
  Histogram& prefill_tokens;
  Gauge& queue_size;
  Gauge& current_size;
  Gauge& input_tokens;
  Gauge& remaining_tokens;
  Gauge& kv_usage;
};

Metrics::Metrics(const Options& options)
    : requests_(
          std::make_unique<RequestFamilies>(MetricFactory(registry_), options)),
      tokenize_(std::make_unique<TokenizeFamilies>(MetricFactory(registry_))),
      steps_(
          std::make_unique<StepFamilies>(MetricFactory(registry_), options)) {
  MetricFactory(registry_)
      .AddGauge("drover_build_info", "1; the version is the label",
                {{"version", DROVER_VERSION}})
      .Set(1);
}

Metrics::~Metrics() = default;

std::string Metrics::Render() const {
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

void Metrics::OnStep(const StepStats& stats) {
  const bool has_prefill = stats.num_prefill_sequences > 0;
  (has_prefill ? steps_->prefill : steps_->next_token).Observe(stats);
  if (has_prefill) steps_->prefill_tokens.Observe(stats.num_prefill_tokens);
  if (stats.num_admitted > 0 && stats.num_running > stats.num_admitted) {
    steps_->concatenations.Increment();
  }
  steps_->preemptions.Increment(
      static_cast<double>(stats.num_preemptions - steps_->preemptions_counted));
  steps_->preemptions_counted = stats.num_preemptions;
  steps_->queue_jumps.Increment(stats.num_queue_jumps);
  steps_->queue_size.Set(stats.num_waiting);
  steps_->current_size.Set(stats.num_running);
  steps_->input_tokens.Set(static_cast<double>(stats.num_running_tokens));
  steps_->remaining_tokens.Set(static_cast<double>(stats.num_remaining_tokens));
  if (stats.num_total_blocks > 0) {
    steps_->kv_usage.Set(static_cast<double>(stats.num_used_blocks) /
                         stats.num_total_blocks);
  }
}

void Metrics::OnPrefixLoaded(absl::Duration time) {
  ObserveSeconds(requests_->prefix_load, time);
}

void Metrics::OnExecutorLost(const absl::Status& status, bool in_prefill) {
  (in_prefill ? steps_->prefill : steps_->next_token).CountFailure(status);
  steps_->queue_size.Set(0);
  steps_->current_size.Set(0);
  steps_->input_tokens.Set(0);
  steps_->remaining_tokens.Set(0);
  steps_->kv_usage.Set(0);
}

void Metrics::OnCall(CallKind kind, int num_inputs) {
  requests_->calls.at(kind).Increment();
  requests_->inputs.Increment(num_inputs);
}

void Metrics::OnPrefixRefused() { requests_->prefix_failures.Increment(); }

void Metrics::OnEncoded(int32_t raw_input_token_count) {
  requests_->raw_input_length.Observe(raw_input_token_count);
}

void Metrics::OnValidated(const std::vector<ValidatedInput>& inputs,
                          absl::Duration duration) {
  ObserveSeconds(requests_->validation, duration);
  for (const ValidatedInput& input : inputs) {
    requests_->input_length.Observe(input.input_token_count);
    requests_->max_new_tokens.Observe(input.max_new_tokens);
  }
}

void Metrics::OnFailed(const FailedRequest& failed) {
  requests_->failure.at(failed.kind).Increment(failed.num_failures);
}

void Metrics::OnFinished(const FinishedRequest& finished) {
  const auto counter =
      requests_->success.find({finished.stop_reason, finished.call});
  if (counter != requests_->success.end()) counter->second.Increment();
  ObserveSeconds(requests_->duration, finished.total_time);
  ObserveSeconds(requests_->queue, finished.queue_time);
  ObserveSeconds(requests_->inference, finished.inference_time);
  requests_->generated_tokens.Observe(finished.generated_token_count);
  requests_->total_tokens.Observe(finished.input_token_count +
                                  finished.generated_token_count);
  if (finished.generated_token_count == 0) return;
  ObserveSeconds(requests_->mean_time_per_token,
                 finished.inference_time / finished.generated_token_count);
  ObserveSeconds(requests_->time_to_first_token, finished.time_to_first_token);
  for (const absl::Duration gap : finished.inter_token_times) {
    ObserveSeconds(requests_->inter_token, gap);
  }
}

void Metrics::OnTokenizeCall(int num_inputs) {
  tokenize_->calls.Increment();
  tokenize_->inputs.Increment(num_inputs);
}

void Metrics::OnTokenized(const TokenizedCall& call) {
  ObserveSeconds(tokenize_->duration, call.duration);
  for (const int32_t count : call.token_counts) {
    tokenize_->tokens.Observe(count);
  }
}

}  // namespace drover
