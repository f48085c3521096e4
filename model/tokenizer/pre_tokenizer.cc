#include "model/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace drover {
namespace {

struct Piece {
  ByteRange range;
  bool is_match;
};

// `matches` and what lies between them, over all of a text.
std::vector<Piece> Cover(const std::vector<ByteRange>& matches, uint32_t size,
                         bool invert) {
  std::vector<Piece> pieces;
  pieces.reserve(2 * matches.size() + 1);
  uint32_t end = 0;
  for (const ByteRange& match : matches) {
    if (end != match.begin) pieces.push_back({{end, match.begin}, invert});
    pieces.push_back({match, !invert});
    end = match.end;
  }
  if (end != size) pieces.push_back({{end, size}, invert});
  return pieces;
}

// Whether a piece and the one before it are one word.
bool Joins(const Piece& previous, const Piece& piece, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kRemoved:
    case SplitBehavior::kIsolated:
      return false;
    case SplitBehavior::kMergedWithPrevious:
      return piece.is_match && !previous.is_match;
    case SplitBehavior::kMergedWithNext:
      return previous.is_match && !piece.is_match;
    case SplitBehavior::kContiguous:
      return previous.is_match == piece.is_match;
  }
  return false;
}

void AppendWords(const std::vector<Piece>& pieces, SplitBehavior behavior,
                 uint32_t base, std::vector<ByteRange>& words) {
  const size_t first = words.size();
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto [range, is_match] = pieces[i];
    if (behavior == SplitBehavior::kRemoved && is_match) continue;
    if (i > 0 && Joins(pieces[i - 1], pieces[i], behavior)) {
      words.back().end = base + range.end;
    } else {
      words.push_back({base + range.begin, base + range.end});
    }
  }
  words.erase(std::remove_if(
                  words.begin() + static_cast<ptrdiff_t>(first), words.end(),
                  [](const ByteRange& word) { return word.begin == word.end; }),
              words.end());
}

}  // namespace

PreTokenizer::PreTokenizer(std::vector<SplitRule> rules)
    : rules_(std::move(rules)) {}

absl::Status PreTokenizer::Split(std::string_view text,
                                 std::vector<ByteRange>& words) const {
  words.clear();
  if (text.empty()) return absl::OkStatus();
  words.push_back({0, static_cast<uint32_t>(text.size())});
  std::vector<ByteRange> matches;
  for (const SplitRule& rule : rules_) {
    const std::vector<ByteRange> uncut = std::exchange(words, {});
    for (const auto& [begin, end] : uncut) {
      DROVER_RETURN_IF_ERROR(
          rule.regex.FindAll(text.substr(begin, end - begin), matches));
      AppendWords(Cover(matches, end - begin, rule.invert), rule.behavior,
                  begin, words);
    }
  }
  return absl::OkStatus();
}

}  // namespace drover
