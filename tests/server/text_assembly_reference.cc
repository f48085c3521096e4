#include "tests/server/text_assembly_reference.h"

#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "model/tokenizer/utf8_assembler.h"

namespace drover {
namespace {

std::string WholeCharacters(std::string_view bytes) {
  return Utf8Assembler().Push(bytes);
}

// The stop sequence that ends first in `text`, beyond its first `old_size`
// bytes. False if none does.
bool CutAtStopSequence(const TextAssembler::Options& options, size_t old_size,
                       AssembledText& out) {
  for (size_t end = old_size + 1; end <= out.text.size(); ++end) {
    const std::string before = out.text.substr(0, end);
    for (const std::string& stop : options.stop_sequences) {
      if (!before.ends_with(stop)) continue;
      const size_t cut = options.include_stop_sequence ? 0 : stop.size();
      out.stop_sequence = stop;
      out.text = before.substr(0, end - cut);
      return true;
    }
  }
  return false;
}

// Whether more was shown than what is part of every text that may still follow.
bool ShowsPossibleStop(std::string_view shown, std::string_view text,
                       const TextAssembler::Options& options) {
  for (const std::string_view stop : options.stop_sequences) {
    for (size_t size = 1; size < stop.size() && size <= text.size(); ++size) {
      if (text.ends_with(stop.substr(0, size)) &&
          shown.size() > text.size() - size) {
        return true;
      }
    }
  }
  return false;
}

std::string Describe(const AssembledText& result) {
  return absl::StrCat("\"", absl::CHexEscape(result.text), "\" ",
                      fmaas::StopReason_Name(result.stop_reason), " \"",
                      absl::CHexEscape(result.stop_sequence), "\" after ",
                      result.num_tokens, " tokens");
}

}  // namespace

AssembledText AssembleInOnePiece(
    const TextAssembler::Options& options,
    const std::vector<TextAssembler::Token>& tokens) {
  AssembledText out;
  std::string bytes;
  for (const TextAssembler::Token& token : tokens) {
    const size_t old_size = out.text.size();
    bytes += token.bytes;
    out.text = WholeCharacters(bytes);
    ++out.num_tokens;
    if (token.time_over) {
      out.stop_reason = fmaas::TIME_LIMIT;
    } else if (static_cast<int64_t>(out.num_tokens) < options.min_new_tokens) {
      continue;
    } else if (token.is_eos) {
      out.stop_reason = fmaas::EOS_TOKEN;
    } else if (CutAtStopSequence(options, old_size, out)) {
      out.stop_reason = fmaas::STOP_SEQUENCE;
    } else if (token.is_last_allowed) {
      out.stop_reason = options.last_token_reason;
    }
    if (out.stop_reason != fmaas::NOT_FINISHED) break;
  }
  return out;
}

std::string CheckIncrements(const TextAssembler::Options& options,
                            const std::vector<TextAssembler::Token>& tokens) {
  TextAssembler assembler(options);
  AssembledText actual;
  std::string bytes;
  for (const TextAssembler::Token& token : tokens) {
    const TextAssembler::Increment increment = assembler.Push(token);
    bytes += token.bytes;
    actual.text += increment.text;
    actual.stop_reason = increment.stop_reason;
    actual.stop_sequence = increment.stop_sequence;
    ++actual.num_tokens;
    if (!IsValidUtf8(increment.text)) return "an increment is not UTF-8";
    if (increment.stop_reason != fmaas::NOT_FINISHED) break;
    if (!options.include_stop_sequence &&
        ShowsPossibleStop(actual.text, WholeCharacters(bytes), options)) {
      return "the beginning of an excluded stop sequence was shown";
    }
  }
  if (actual.stop_reason == fmaas::NOT_FINISHED) {
    const std::string rest = assembler.Finish();
    if (!IsValidUtf8(rest)) return "the rest is not UTF-8";
    actual.text += rest;
  }
  const AssembledText expected = AssembleInOnePiece(options, tokens);
  if (actual == expected) return "";
  return absl::StrCat(Describe(actual), ", not ", Describe(expected));
}

}  // namespace drover
