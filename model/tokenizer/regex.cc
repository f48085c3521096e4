#include "model/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/tokenizer/regex_dialect.h"
#include "model/tokenizer/utf8_assembler.h"

namespace drover {
namespace {

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_compile_context* context) const {
    pcre2_compile_context_free(context);
  }
  void operator()(pcre2_match_context* context) const {
    pcre2_match_context_free(context);
  }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

PCRE2_SPTR Units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

std::string MessageOf(int error) {
  char message[256];
  pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(message),
                          sizeof(message));
  return message;
}

// Enough for every step of one match to look at the whole text a few times,
// so that only patterns that explode reach it.
uint32_t MatchLimit(size_t text_bytes) {
  constexpr size_t kLeast = 10'000'000;
  return static_cast<uint32_t>(
      std::min<size_t>(kLeast + 16 * text_bytes, UINT32_MAX));
}

size_t NextCharacter(std::string_view text, size_t at) {
  ++at;
  while (at < text.size() && IsContinuationByte(text[at])) ++at;
  return at;
}

// One search after another in one text.
class Searcher {
 public:
  Searcher(const pcre2_code* code, std::string_view text)
      : code_(code),
        text_(text),
        data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)) {
    DROVER_CHECK(data_ != nullptr && context_ != nullptr, "out of memory");
    pcre2_set_match_limit(context_.get(), MatchLimit(text.size()));
  }

  // The first match at or after `start`. False if there is none.
  absl::StatusOr<bool> Search(size_t start, ByteRange& match) {
    int result = Match(start, PCRE2_NO_UTF_CHECK);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
      result = Match(start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
    }
    if (result == PCRE2_ERROR_NOMATCH) return false;
    if (result < 0) {
      return absl::InternalError(StrCat("regex: ", MessageOf(result)));
    }
    const size_t* ends = pcre2_get_ovector_pointer(data_.get());
    match = {static_cast<uint32_t>(ends[0]), static_cast<uint32_t>(ends[1])};
    return true;
  }

 private:
  int Match(size_t start, uint32_t options) {
    return pcre2_match(code_, Units(text_), text_.size(), start, options,
                       data_.get(), context_.get());
  }

  const pcre2_code* code_;
  std::string_view text_;
  std::unique_ptr<pcre2_match_data, Free> data_;
  std::unique_ptr<pcre2_match_context, Free> context_;
};

}  // namespace

struct Regex::Code {
  std::unique_ptr<pcre2_code, Free> code;
};

Regex::Regex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) {
  DROVER_ASSIGN_OR_RETURN(const std::string translated, ToPcre2(pattern));
  return Compile(translated, PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE);
}

absl::StatusOr<Regex> Regex::Literal(std::string_view text) {
  return Compile(text, PCRE2_LITERAL);
}

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern,
                                     uint32_t options) {
  const std::unique_ptr<pcre2_compile_context, Free> context(
      pcre2_compile_context_create(nullptr));
  DROVER_CHECK(context != nullptr, "out of memory");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);  // what . does not match
  int error = 0;
  size_t error_offset = 0;
  pcre2_code* code =
      pcre2_compile(Units(pattern), pattern.size(), options | PCRE2_UTF, &error,
                    &error_offset, context.get());
  if (code == nullptr) {
    return absl::InvalidArgumentError(
        StrCat("not a usable regex: ", MessageOf(error)));
  }
  auto owned = std::make_shared<Code>();
  owned->code.reset(code);
  // Where there is no compiler for this machine, it is interpreted.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return Regex(std::move(owned));
}

absl::Status Regex::FindAll(std::string_view text,
                            std::vector<ByteRange>& matches) const {
  matches.clear();
  Searcher searcher(code_->code.get(), text);
  size_t start = 0;
  while (start <= text.size()) {
    ByteRange match;
    DROVER_ASSIGN_OR_RETURN(const bool found, searcher.Search(start, match));
    if (!found) break;
    const bool is_empty = match.begin == match.end;
    if (is_empty && !matches.empty() && matches.back().end == match.end) {
      start = NextCharacter(text, start);
      continue;
    }
    matches.push_back(match);
    start = match.end;
  }
  return absl::OkStatus();
}

}  // namespace drover
