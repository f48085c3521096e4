#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "proto/generation.grpc.pb.h"
#include "server/generation_service.h"
#include "server/generator.h"
#include "server/prefix_lookup.h"
#include "server/request_observer.h"
#include "server/service_options.h"
#include "tests/server/script_tokenizer.h"

namespace drover::testing {

// An engine whose every word the test speaks. Ids count from 1. Thread-safe.
class ScriptedGenerator final : public Generator {
 public:
  absl::StatusOr<RequestId> Submit(Request request,
                                   std::shared_ptr<RequestSink> sink) override;
  void Stop(RequestId id) override;
  void Cancel(RequestId id) override;

  // From now on Submit answers with this, after `num_accepted` more requests.
  void Refuse(absl::Status status, int num_accepted = 0);
  // From now on each request is answered at once, on the submitting thread.
  void AnswerWith(std::function<void(const Request&, RequestSink&)> answer);

  // Waits for request `id` and returns it.
  Request Await(RequestId id);
  void Say(RequestId id, RequestEvent event);
  // One token after another, out of the bytes' ids.
  void SayBytes(RequestId id, std::string_view bytes);

  // These wait until the service has told the engine so.
  void AwaitStop(RequestId id);
  void AwaitCancel(RequestId id);
  // In the order they came.
  std::vector<RequestId> stopped() const;
  std::vector<RequestId> cancelled() const;
  int num_submitted() const;

 private:
  struct Submitted {
    Request request;
    std::shared_ptr<RequestSink> sink;
  };

  std::shared_ptr<RequestSink> SinkOf(RequestId id);

  mutable absl::Mutex mutex_;
  std::vector<Submitted> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<RequestId> stopped_ ABSL_GUARDED_BY(mutex_);
  std::vector<RequestId> cancelled_ ABSL_GUARDED_BY(mutex_);
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  int num_accepted_ ABSL_GUARDED_BY(mutex_) = 0;
  std::function<void(const Request&, RequestSink&)> answer_
      ABSL_GUARDED_BY(mutex_);
};

// Keeps what it was told. Thread-safe.
class RecordingObserver final : public RequestObserver {
 public:
  void OnCall(CallKind kind, int num_inputs) override;
  void OnPrefixRefused() override;
  void OnEncoded(int32_t raw_input_token_count) override;
  void OnValidated(const std::vector<ValidatedInput>& inputs,
                   absl::Duration duration) override;
  void OnFailed(const FailedRequest& failed) override;
  void OnFinished(const FinishedRequest& finished) override;
  void OnUncounted(const UncountedCall& call) override;
  void OnNotParsed(const NotParsedCall& call) override;
  void OnTokenizeCall(int num_inputs) override;
  void OnTokenized(const TokenizedCall& call) override;

  // "stream 1", "prefix refused", "encoded 5", "validated 5/20", "failed
  // validation 1", "finished MAX_TOKENS", "uncounted stream abc: missing
  // request", "not parsed abc: the request is no …", "tokenize 2", "tokenized
  // 5": in order.
  std::vector<std::string> story() const;
  std::vector<FinishedRequest> finished() const;
  std::vector<FailedRequest> failed() const;
  // Called on the thread that encodes, after each text; before the first call.
  void set_on_encoded(std::function<void()> hook) {
    on_encoded_ = std::move(hook);
  }

  // Waits for this many failures.
  void AwaitFailures(size_t count);

 private:
  std::function<void()> on_encoded_;
  mutable absl::Mutex mutex_;
  std::vector<std::string> story_ ABSL_GUARDED_BY(mutex_);
  std::vector<FinishedRequest> finished_ ABSL_GUARDED_BY(mutex_);
  std::vector<FailedRequest> failed_ ABSL_GUARDED_BY(mutex_);
};

// A service over `generator`, and a client of it, over an in-process channel.
class ServiceHarness {
 public:
  ServiceHarness(Generator& generator, const ServiceOptions& options = {},
                 std::vector<std::string> pieces = {},
                 PrefixLookup::Options prefixes = PrefixLookup::InStore({}));
  // Ends open calls.
  ~ServiceHarness();

  fmaas::GenerationService::Stub& stub() { return *stub_; }
  GenerationService& service() { return service_; }
  // For calls that no stub makes.
  std::shared_ptr<grpc::Channel> channel() { return channel_; }
  RecordingObserver& observer() { return observer_; }
  const ScriptTokenizer& tokenizer() const { return tokenizer_; }

 private:
  const ScriptTokenizer tokenizer_;
  RecordingObserver observer_;
  GenerationService service_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<fmaas::GenerationService::Stub> stub_;
};

// The messages of one GenerateStream call, and how it ended.
struct StreamOutcome {
  std::vector<fmaas::GenerationResponse> messages;
  grpc::Status status;
};
StreamOutcome ReadStream(fmaas::GenerationService::Stub& stub,
                         const fmaas::SingleGenerationRequest& request);

// The next message as text; "status: …" at the end of the stream.
std::string ReadNext(grpc::ClientReader<fmaas::GenerationResponse>& reader);

RequestToken TokenOf(char byte);

}  // namespace drover::testing
