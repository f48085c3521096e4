#pragma once

#include <utility>
#include <vector>

#include "server/request_observer.h"

namespace drover {

// Tells several observers, in order. They outlive it.
class ObserverList final : public RequestObserver {
 public:
  explicit ObserverList(std::vector<RequestObserver*> observers)
      : observers_(std::move(observers)) {}

  void OnCall(CallKind kind, int num_inputs) override {
    for (RequestObserver* o : observers_) o->OnCall(kind, num_inputs);
  }
  void OnPrefixRefused() override {
    for (RequestObserver* o : observers_) o->OnPrefixRefused();
  }
  void OnEncoded(int32_t raw_input_token_count) override {
    for (RequestObserver* o : observers_) o->OnEncoded(raw_input_token_count);
  }
  void OnValidated(const std::vector<ValidatedInput>& inputs,
                   absl::Duration duration) override {
    for (RequestObserver* o : observers_) o->OnValidated(inputs, duration);
  }
  void OnFailed(const FailedRequest& failed) override {
    for (RequestObserver* o : observers_) o->OnFailed(failed);
  }
  void OnFinished(const FinishedRequest& finished) override {
    for (RequestObserver* o : observers_) o->OnFinished(finished);
  }
  void OnUncounted(const UncountedCall& call) override {
    for (RequestObserver* o : observers_) o->OnUncounted(call);
  }
  void OnNotParsed(const NotParsedCall& call) override {
    for (RequestObserver* o : observers_) o->OnNotParsed(call);
  }
  void OnTokenizeCall(int num_inputs) override {
    for (RequestObserver* o : observers_) o->OnTokenizeCall(num_inputs);
  }
  void OnTokenized(const TokenizedCall& call) override {
    for (RequestObserver* o : observers_) o->OnTokenized(call);
  }

 private:
  const std::vector<RequestObserver*> observers_;
};

}  // namespace drover
