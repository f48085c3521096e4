#pragma once

#include "absl/status/status.h"
#include "model/tokenizer/tokenizer.h"
#include "proto/generation.pb.h"

namespace drover {

// Fills `response` with one entry per text: token counts, and pieces and byte
// offsets if asked for. Truncation keeps the last tokens as they are; no BOS
// takes a place, unlike in generation. INVALID_ARGUMENT for what is not UTF-8
// and for an adapter; INTERNAL if the tokenizer fails. A prefix changes nothing
// here.
absl::Status TokenizeTexts(const fmaas::BatchedTokenizeRequest& request,
                           const Tokenizer& tokenizer,
                           fmaas::BatchedTokenizeResponse& response);

}  // namespace drover
