#pragma once

#include <memory>
#include <optional>
#include <utility>

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
#include "server/stream_outbox.h"

namespace drover {

// One GenerateStream call.
//
//   Begin       gRPC's thread: admit
//   Prepare     a tokenization thread: validate, encode
//   OnPrepared  a tokenization thread, the same unless a prefix had to be
//               found: acknowledge, submit
//   OnMessage   emitter's thread: into the outbox, and out if nothing is in
//               flight
//   OnWriteDone gRPC's thread: the next of the outbox, or the end
//   OnCancel    gRPC's thread: the client is gone; so is the request
//   OnDone      gRPC's last word
//
// At most one write is in flight, and the call finishes only when none is and
// nothing reads the client's message any more. It lives until both gRPC and the
// emitter have let go of it.
class StreamCall final
    : public grpc::ServerWriteReactor<fmaas::GenerationResponse>,
      public ContinuationListener,
      public std::enable_shared_from_this<StreamCall> {
 public:
  // The reactor that gRPC gets. `request` lives until OnDone.
  static StreamCall* Start(const ServiceContext& service,
                           const grpc::CallbackServerContext& context,
                           const fmaas::SingleGenerationRequest& request);

  StreamCall(const ServiceContext& service, CallInfo call)
      : service_(service), call_(std::move(call)) {}

  void OnMessage(fmaas::GenerationResponse message, bool is_last) override;
  void OnFailed(const absl::Status& status) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void Begin(const fmaas::SingleGenerationRequest& message);
  void Prepare(const fmaas::SingleGenerationRequest& message);
  void OnPrepared(PreparedCall prepared,
                  const fmaas::SingleGenerationRequest& message);
  void Submit(PreparedRequest prepared) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The call ends with `status` once the outbox is empty, or is counted as a
  // failure besides. The first status counts.
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fail(FailureKind kind, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The same, but what waits is thrown away and the engine told to stop.
  void Abandon(FailureKind kind, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Writes or finishes, if there is something to and nothing in flight.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ServiceContext& service_;
  const CallInfo call_;
  std::shared_ptr<StreamCall> self_;  // from Start to OnDone

  absl::Mutex mutex_;
  Admission::Permits permits_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<EmittedRequest> request_ ABSL_GUARDED_BY(mutex_);
  StreamOutbox outbox_ ABSL_GUARDED_BY(mutex_);
  fmaas::GenerationResponse in_flight_ ABSL_GUARDED_BY(mutex_);
  bool preparing_ ABSL_GUARDED_BY(mutex_) = false;
  bool write_in_flight_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool finish_called_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace drover
