#include "server/token_info.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace drover {
namespace {

// protobuf writes -0, and a field that is there is one more key to clients.
float WithoutNegativeZero(float value) { return value + 0.0f; }

// Best first if logprobs are asked for, of equal ones the lower id; else by id.
// A device orders by logits, which may differ where their logprobs do not.
std::vector<TopToken> InOrder(std::vector<TopToken> top, bool logprobs) {
  std::sort(top.begin(), top.end(),
            [logprobs](const TopToken& a, const TopToken& b) {
              if (!logprobs || a.logprob == b.logprob) return a.id < b.id;
              return a.logprob > b.logprob;
            });
  return top;
}

}  // namespace

fmaas::TokenInfo MakeTokenInfo(const TokenScore& score,
                               const ResponseDetails& details,
                               const Tokenizer& tokenizer) {
  fmaas::TokenInfo info;
  info.set_text(tokenizer.Piece(score.id));
  if (details.logprobs) info.set_logprob(WithoutNegativeZero(score.logprob));
  if (details.ranks) info.set_rank(score.rank);
  if (details.top_n == 0) return info;
  for (const TopToken& token : InOrder(score.top, details.logprobs)) {
    fmaas::TokenInfo::TopToken& top = *info.add_top_tokens();
    top.set_text(tokenizer.Piece(token.id));
    if (details.logprobs) top.set_logprob(WithoutNegativeZero(token.logprob));
  }
  return info;
}

fmaas::TokenInfo MakeFirstInputTokenInfo(int32_t id,
                                         const ResponseDetails& details,
                                         const Tokenizer& tokenizer) {
  fmaas::TokenInfo info;
  info.set_text(tokenizer.Piece(id));
  if (details.logprobs) {
    info.set_logprob(std::numeric_limits<float>::quiet_NaN());
  }
  return info;
}

}  // namespace drover
