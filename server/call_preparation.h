#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <grpcpp/server_context.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/generation.pb.h"
#include "scheduler/request.h"
#include "server/continuation.h"
#include "server/request_observer.h"
#include "server/service_context.h"

namespace drover {

// What is known of a call before its message is read. Instants are those of the
// engine's clock.
struct CallInfo {
  CallKind kind = CallKind::kStream;
  std::string correlation_id;
  absl::Time arrival;
  absl::Time client_deadline = absl::InfiniteFuture();
};

// The client's x-correlation-id, not too much of it; empty without.
std::string CorrelationId(const grpc::CallbackServerContext& context);

CallInfo MakeCallInfo(CallKind kind, const grpc::CallbackServerContext& context,
                      const Clock& clock);

// One input of a call that passed validation.
struct PreparedRequest {
  Request request;
  Continuation::Options continuation;
};

// The parts of a call's message that Generate and GenerateStream share.
struct CallMessage {
  std::vector<std::string_view> texts;
  const fmaas::Parameters& params;
  const std::string& prefix_id;
  const std::string& adapter_id;
};

using PreparedCall = absl::StatusOr<std::vector<PreparedRequest>>;

// Converts, validates and encodes a call: one request per text, in order, each
// with a seed. INVALID_ARGUMENT with the text of the first rule that fails;
// UNAVAILABLE if the server ends meanwhile. Tells the observer what was encoded
// and validated, not what failed.
//
// On a tokenization thread, and so is `done`: before this returns, or, if the
// call names a prefix, once that is found, with no thread waiting for it. What
// is passed by reference lives until then.
void PrepareCall(CallMessage message, const CallInfo& call,
                 const ServiceContext& context,
                 std::function<void(PreparedCall)> done);

// What a refusal at admission, in preparation or by the engine (at Submit) or a
// failure later counts as.
FailureKind AdmissionFailureKind(const absl::Status& status);
FailureKind PreparationFailureKind(const absl::Status& status);
FailureKind SubmitFailureKind(const absl::Status& status);
FailureKind GenerationFailureKind(const absl::Status& status);

}  // namespace drover
