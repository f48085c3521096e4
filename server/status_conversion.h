#pragma once

#include <cstdint>

#include <grpcpp/support/status.h>
#include "absl/status/status.h"

namespace drover {

// The one place where statuses of the two libraries meet. Codes keep their
// meaning, messages their text.
grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

// What a client is told when the engine gives its request up: INTERNAL "Request
// failed during generation: …", after tokens "… Error after generating n
// tokens: …" (0: for a fault of the whole engine). Out of device memory is
// RESOURCE_EXHAUSTED "… GPU out of memory", as TGIS calls it; a lost shard is
// UNAVAILABLE, so that clients try again elsewhere.
absl::Status GenerationFailure(const absl::Status& cause,
                               int32_t generated_token_count);

}  // namespace drover
