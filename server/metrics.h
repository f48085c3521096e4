#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "prometheus/registry.h"
#include "scheduler/scheduler.h"
#include "server/request_observer.h"

namespace drover {

// The Prometheus registry of one server and everything in it: TGIS's metrics
// under their own names, labels and buckets, and a few that TGIS lacks. Every
// series exists from the start, at zero. What TGIS counts and this scheduler
// never does (padding limits, a prefix cache) stays at zero. Thread-safe.
class Metrics final : public RequestObserver {
 public:
  // They set the upper ends of the buckets.
  struct Options {
    int32_t max_sequence_length = 2048;
    int32_t max_new_tokens = 1024;
    int32_t max_batch_size = 64;
  };

  explicit Metrics(const Options& options);
  ~Metrics() override;

  // Prometheus's text format.
  std::string Render() const;

  // After each step, on the engine's thread.
  void OnStep(const StepStats& stats);
  // A soft prompt was read, which took this long. Any thread.
  void OnPrefixLoaded(absl::Duration time);
  // The executor is gone, in a step with a prompt in it or in another.
  void OnExecutorLost(const absl::Status& status, bool in_prefill);

  void OnCall(CallKind kind, int num_inputs) override;
  void OnPrefixRefused() override;
  void OnEncoded(int32_t raw_input_token_count) override;
  void OnValidated(const std::vector<ValidatedInput>& inputs,
                   absl::Duration duration) override;
  void OnFailed(const FailedRequest& failed) override;
  void OnFinished(const FinishedRequest& finished) override;
  void OnUncounted(const UncountedCall&) override {}
  void OnNotParsed(const NotParsedCall&) override {}
  void OnTokenizeCall(int num_inputs) override;
  void OnTokenized(const TokenizedCall& call) override;

 private:
  struct RequestFamilies;
  struct TokenizeFamilies;
  struct StepFamilies;

  prometheus::Registry registry_;
  std::unique_ptr<RequestFamilies> requests_;
  std::unique_ptr<TokenizeFamilies> tokenize_;
  std::unique_ptr<StepFamilies> steps_;
};

}  // namespace drover
