#pragma once

#include "proto/generation.pb.h"

namespace drover {

// Adds a later message of a stream to an earlier one, or to a unary response:
// texts and records follow each other, counts and reasons are the later one's.
void AppendMessage(const fmaas::GenerationResponse& message,
                   fmaas::GenerationResponse& response);

}  // namespace drover
