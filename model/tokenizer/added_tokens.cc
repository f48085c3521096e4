#include "model/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "model/tokenizer/code_points.h"

namespace drover {
namespace {

bool IsSingleWord(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && IsOfWord(PreviousCodePoint(text, begin))) return false;
  return end == text.size() || !IsOfWord(NextCodePoint(text, end));
}

size_t WithSpaceBefore(std::string_view text, size_t begin) {
  while (begin > 0) {
    size_t previous = begin;
    if (!IsWhiteSpace(PreviousCodePoint(text, previous))) break;
    begin = previous;
  }
  return begin;
}

size_t WithSpaceAfter(std::string_view text, size_t end) {
  while (end < text.size()) {
    size_t next = end;
    if (!IsWhiteSpace(NextCodePoint(text, next))) break;
    end = next;
  }
  return end;
}

uint64_t Edge(uint32_t node, char byte) {
  return uint64_t{node} << 8 | static_cast<uint8_t>(byte);
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)) {
  for (int32_t i = 0; i < std::ssize(tokens_); ++i) Insert(i);
}

void AddedTokenMatcher::Insert(int32_t index) {
  const std::string& content = tokens_[static_cast<size_t>(index)].content;
  begins_token_[static_cast<uint8_t>(content[0])] = true;
  uint32_t node = 0;
  for (const char byte : content) {
    const auto added = static_cast<uint32_t>(token_at_.size());
    const auto [edge, is_new] = edges_.try_emplace(Edge(node, byte), added);
    if (is_new) token_at_.push_back(-1);
    node = edge->second;
  }
  token_at_[node] = index;
}

int32_t AddedTokenMatcher::LongestAt(std::string_view text) const {
  if (!begins_token_[static_cast<uint8_t>(text[0])]) return -1;
  int32_t longest = -1;
  uint32_t node = 0;
  for (const char byte : text) {
    const auto edge = edges_.find(Edge(node, byte));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (token_at_[node] >= 0) longest = token_at_[node];
  }
  return longest;
}

std::vector<AddedTokenMatcher::Part> AddedTokenMatcher::Split(
    std::string_view text) const {
  std::vector<Part> parts;
  size_t done = 0;  // what the parts cover
  const auto add = [&](size_t begin, size_t end, int32_t id) {
    parts.push_back(
        {{static_cast<uint32_t>(begin), static_cast<uint32_t>(end)}, id});
    done = end;
  };
  for (size_t i = 0; i < text.size();) {
    const int32_t index = LongestAt(text.substr(i));
    if (index < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t begin = i;
    size_t end = i + token.content.size();
    i = end;
    if (token.single_word && !IsSingleWord(text, begin, end)) continue;
    // The token before may have taken that white space already. (If it is part
    // of this token's own content, both have it, as in the reference.)
    if (token.lstrip) begin = std::max(WithSpaceBefore(text, begin), done);
    if (token.rstrip) end = WithSpaceAfter(text, end);
    if (done < begin) add(done, begin, kNoToken);
    add(begin, end, token.id);
  }
  if (done < text.size()) add(done, text.size(), kNoToken);
  return parts;
}

}  // namespace drover
