#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/utf8_assembler.h"
#include "proto/generation.pb.h"

namespace drover {

// Puts one request's text together from its tokens' bytes, token by token, and
// alone decides why the request stops. Per token, in this order:
//
//   time over                  TIME_LIMIT; the token is kept
//   fewer than min_new_tokens  go on: neither EOS nor stop sequences count
//   EOS                        EOS_TOKEN
//   a stop sequence            STOP_SEQUENCE; before the next one, so that the
//                              text of an excluded sequence never shows
//   the last token allowed     TOKEN_LIMIT or MAX_TOKENS
//
// A stop sequence matches where its last byte was added by this token. Of
// several matches the one that ends first counts, then the list's order.
//
// Text appears in whole UTF-8 characters, as soon as they are complete; only
// what may be the beginning of an excluded stop sequence waits. The increments
// add up to the whole text. Single-threaded.
class TextAssembler {
 public:
  struct Options {
    std::vector<std::string> stop_sequences;  // none empty
    bool include_stop_sequence = true;
    int32_t min_new_tokens = 0;
    // What running into the last allowed token is called.
    fmaas::StopReason last_token_reason = fmaas::MAX_TOKENS;
  };

  struct Token {
    std::string_view bytes;  // none for EOS
    bool is_eos = false;
    bool is_last_allowed = false;
    bool time_over = false;
  };

  struct Increment {
    std::string text;
    // Anything but NOT_FINISHED: this was the last token.
    fmaas::StopReason stop_reason = fmaas::NOT_FINISHED;
    std::string stop_sequence;  // for STOP_SEQUENCE

    bool operator==(const Increment&) const = default;
  };

  explicit TextAssembler(Options options);

  // The next token. Not after a stop reason.
  Increment Push(const Token& token);

  // The request ends without another token: what was held back.
  std::string Finish();

  int32_t num_tokens() const { return num_tokens_; }

 private:
  struct Match {
    size_t begin = 0;  // in pending_
    size_t end = 0;
    const std::string* stop_sequence = nullptr;
  };

  fmaas::StopReason ReasonBeforeStopSequences(const Token& token) const;
  // The match in pending_ that ends first beyond its first `num_old` bytes;
  // stop_sequence is null without one.
  Match FindMatch(size_t num_old) const;
  // Bytes at the end of pending_ with which a stop sequence may have begun.
  size_t NumPossibleStopBytes() const;
  // The unshown part of pending_[0, end).
  std::string Show(size_t end);

  const Options options_;
  size_t max_stop_bytes_ = 0;
  Utf8Assembler characters_;
  // The end of the text from where a stop sequence may have begun. Of it the
  // first num_shown_ bytes have been given out; all of them when stop sequences
  // are included, none when they are excluded.
  std::string pending_;
  size_t num_shown_ = 0;
  int32_t num_tokens_ = 0;
};

}  // namespace drover
