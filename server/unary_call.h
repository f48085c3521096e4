#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "proto/generation.pb.h"
#include "server/admission.h"
#include "server/call_preparation.h"
#include "server/continuation.h"
#include "server/emitter.h"
#include "server/service_context.h"

namespace drover {

// One Generate call with at least one input: each input's messages add up to
// its response; the call is answered when all are complete. The first failure,
// or the client's going away, ends it and cancels the rest.
//
// Lives until both gRPC and the emitter have let go of it.
class UnaryCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<UnaryCall> {
 public:
  // The reactor that gRPC gets. `request` and `response` live until OnDone.
  static UnaryCall* Start(const ServiceContext& service,
                          const grpc::CallbackServerContext& context,
                          const fmaas::BatchedGenerationRequest& request,
                          fmaas::BatchedGenerationResponse& response);

  UnaryCall(const ServiceContext& service, CallInfo call,
            fmaas::BatchedGenerationResponse& response)
      : service_(service), call_(std::move(call)), response_(response) {}

  void OnCancel() override;
  void OnDone() override;

 private:
  // Tells the call which of its inputs a message is for.
  class Input final : public ContinuationListener {
   public:
    Input(UnaryCall& call, int index) : call_(call), index_(index) {}

    void OnMessage(fmaas::GenerationResponse message, bool is_last) override {
      call_.OnMessage(index_, message, is_last);
    }
    void OnFailed(const absl::Status& status) override {
      call_.OnFailed(status);
    }

   private:
    UnaryCall& call_;
    const int index_;
  };

  // gRPC's thread: admission.
  void Begin(const fmaas::BatchedGenerationRequest& message);
  // Tokenization threads: the rest.
  void Prepare(const fmaas::BatchedGenerationRequest& message);
  void OnPrepared(PreparedCall prepared,
                  const fmaas::BatchedGenerationRequest& message);
  void Submit(std::vector<PreparedRequest> prepared,
              const fmaas::BatchedGenerationRequest& message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The emitters' threads.
  void OnMessage(int index, const fmaas::GenerationResponse& message,
                 bool is_last);
  void OnFailed(const absl::Status& status);

  void Fail(FailureKind kind, int num_failures, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Once ended, unless the client's message is still being read.
  void FinishIfEnded() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ServiceContext& service_;
  const CallInfo call_;
  std::shared_ptr<UnaryCall> self_;  // from Start to OnDone
  std::vector<Input> inputs_;        // fixed once submitted

  absl::Mutex mutex_;
  // Not touched once ended: gRPC serialises it.
  fmaas::BatchedGenerationResponse& response_ ABSL_GUARDED_BY(mutex_);
  Admission::Permits permits_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<EmittedRequest>> requests_
      ABSL_GUARDED_BY(mutex_);
  int num_unfinished_ ABSL_GUARDED_BY(mutex_) = 0;
  bool preparing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace drover
