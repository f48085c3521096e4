#include "server/status_conversion.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace drover {
namespace {

std::string AsString(absl::string_view text) { return std::string(text); }

}  // namespace

// Both code sets are the canonical ones, number by number; the table test over
// every code says so too.
grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      AsString(status.message()));
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
}

absl::Status GenerationFailure(const absl::Status& cause,
                               int32_t generated_token_count) {
  switch (cause.code()) {
    case absl::StatusCode::kUnavailable:
      return absl::UnavailableError(absl::StrCat(
          "Could not connect to Text Generation server: ", cause.message()));
    // The server ends before the request did.
    case absl::StatusCode::kAborted:
      return absl::UnavailableError(cause.message());
    // The engine gave the request up without a fault: it can never run, or the
    // engine is ending.
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
      return cause;
    // The details are in the log.
    case absl::StatusCode::kResourceExhausted:
      return absl::ResourceExhaustedError(
          "Request failed during generation: GPU out of memory");
    default:
      break;
  }
  const std::string progress =
      generated_token_count == 0
          ? ""
          : absl::StrCat("Error after generating ", generated_token_count,
                         " tokens: ");
  return absl::InternalError(absl::StrCat(
      "Request failed during generation: ", progress, cause.message()));
}

}  // namespace drover
