#pragma once

#include "server/logging.h"
#include "server/request_observer.h"

namespace drover {

// One line per input that finished and per call that failed, that there was
// nothing to do for or that could not be parsed: counts, times and the client's
// x-correlation-id, never a text. `logger` outlives it.
class RequestLog final : public RequestObserver {
 public:
  explicit RequestLog(Logger& logger) : logger_(logger) {}

  void OnCall(CallKind, int) override {}
  void OnPrefixRefused() override {}
  void OnEncoded(int32_t) override {}
  void OnValidated(const std::vector<ValidatedInput>&,
                   absl::Duration) override {}
  void OnFailed(const FailedRequest& failed) override;
  void OnFinished(const FinishedRequest& finished) override;
  void OnUncounted(const UncountedCall& call) override;
  void OnNotParsed(const NotParsedCall& call) override;
  void OnTokenizeCall(int) override {}
  void OnTokenized(const TokenizedCall&) override {}

 private:
  Logger& logger_;
};

}  // namespace drover
