#pragma once

#include "absl/status/status.h"

namespace drover {

// What a shard's own word for why it failed means to its router. Out of memory
// stays RESOURCE_EXHAUSTED. A rank that waited in vain for another says only
// that the other is lost: UNAVAILABLE. Everything else is a step that failed:
// INTERNAL.
absl::StatusCode CodeOfFailure(const absl::Status& failure);

}  // namespace drover
