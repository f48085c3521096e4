#include "server/status_conversion.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

struct CodePair {
  absl::StatusCode ours;
  grpc::StatusCode grpc;
};

const CodePair kCodes[] = {
    {absl::StatusCode::kCancelled, grpc::CANCELLED},
    {absl::StatusCode::kUnknown, grpc::UNKNOWN},
    {absl::StatusCode::kInvalidArgument, grpc::INVALID_ARGUMENT},
    {absl::StatusCode::kDeadlineExceeded, grpc::DEADLINE_EXCEEDED},
    {absl::StatusCode::kNotFound, grpc::NOT_FOUND},
    {absl::StatusCode::kAlreadyExists, grpc::ALREADY_EXISTS},
    {absl::StatusCode::kPermissionDenied, grpc::PERMISSION_DENIED},
    {absl::StatusCode::kResourceExhausted, grpc::RESOURCE_EXHAUSTED},
    {absl::StatusCode::kFailedPrecondition, grpc::FAILED_PRECONDITION},
    {absl::StatusCode::kAborted, grpc::ABORTED},
    {absl::StatusCode::kOutOfRange, grpc::OUT_OF_RANGE},
    {absl::StatusCode::kUnimplemented, grpc::UNIMPLEMENTED},
    {absl::StatusCode::kInternal, grpc::INTERNAL},
    {absl::StatusCode::kUnavailable, grpc::UNAVAILABLE},
    {absl::StatusCode::kDataLoss, grpc::DATA_LOSS},
    {absl::StatusCode::kUnauthenticated, grpc::UNAUTHENTICATED},
};

TEST(StatusConversion, EveryCodeKeepsItsMeaningAndItsText) {
  for (const CodePair& pair : kCodes) {
    const grpc::Status there = ToGrpcStatus(absl::Status(pair.ours, "a text"));
    EXPECT_EQ(there.error_code(), pair.grpc);
    EXPECT_EQ(there.error_message(), "a text");
    EXPECT_THAT(FromGrpcStatus(grpc::Status(pair.grpc, "a text")),
                StatusIs(pair.ours, "a text"));
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_THAT(FromGrpcStatus(grpc::Status::OK), IsOk());
}

struct FailureCase {
  const char* situation;
  absl::Status cause;
  int32_t num_tokens;
  absl::StatusCode code;
  std::string text;
};

TEST(StatusConversion, EngineFaultsSayWhatHappenedAndWhen) {
  const std::vector<FailureCase> cases = {
      {"before the first token", absl::InternalError("non-finite logits"), 0,
       absl::StatusCode::kInternal,
       "Request failed during generation: non-finite logits"},
      {"after tokens", absl::InternalError("non-finite logits"), 3,
       absl::StatusCode::kInternal,
       "Request failed during generation: Error after generating 3 tokens: "
       "non-finite logits"},
      {"an unexpected code", absl::UnknownError("x"), 0,
       absl::StatusCode::kInternal, "Request failed during generation: x"},
      {"out of memory",
       absl::ResourceExhaustedError("step 7: CUDA: cudaErrorMemoryAllocation"),
       0, absl::StatusCode::kResourceExhausted,
       "Request failed during generation: GPU out of memory"},
      {"a lost shard", absl::UnavailableError("shard 0 exited"), 5,
       absl::StatusCode::kUnavailable,
       "Could not connect to Text Generation server: shard 0 exited"},
      {"a request that can never run", absl::InvalidArgumentError("too long"),
       0, absl::StatusCode::kInvalidArgument, "too long"},
      {"the server ends", absl::AbortedError("the server is shutting down"), 2,
       absl::StatusCode::kUnavailable, "the server is shutting down"},
      {"the engine ends", absl::CancelledError("the server is shutting down"),
       2, absl::StatusCode::kCancelled, "the server is shutting down"},
      {"nobody waits any more", absl::DeadlineExceededError("late"), 0,
       absl::StatusCode::kDeadlineExceeded, "late"},
  };
  for (const FailureCase& row : cases) {
    SCOPED_TRACE(row.situation);
    EXPECT_THAT(GenerationFailure(row.cause, row.num_tokens),
                StatusIs(row.code, row.text));
  }
}

}  // namespace
}  // namespace drover
