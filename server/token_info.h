#pragma once

#include "model/tokenizer/tokenizer.h"
#include "proto/generation.pb.h"
#include "scheduler/batch_plan.h"
#include "server/parameters.h"

namespace drover {

// A token's record, with the vocabulary piece and the details asked for; all
// else stays unset, and a logprob of -0 becomes 0 (and thus unset).
fmaas::TokenInfo MakeTokenInfo(const TokenScore& score,
                               const ResponseDetails& details,
                               const Tokenizer& tokenizer);

// The record of a prompt's first token, which nothing predicts: logprob NaN if
// logprobs are asked for, no rank, no top tokens.
fmaas::TokenInfo MakeFirstInputTokenInfo(int32_t id,
                                         const ResponseDetails& details,
                                         const Tokenizer& tokenizer);

}  // namespace drover
