#include "model/tokenizer/added_tokens.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <utility>

namespace drover {
namespace {

bool IsSpace(UChar32 c) { return u_hasBinaryProperty(c, UCHAR_WHITE_SPACE); }

// As \w of Unicode's regular expressions.
bool IsOfWord(UChar32 c) {
  constexpr uint32_t kCategories = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) ||
         (U_GET_GC_MASK(c) & kCategories) != 0;
}

// The character that begins at `i`, which moves behind it.
UChar32 Next(std::string_view text, int32_t& i) {
  UChar32 c;
  U8_NEXT(text.data(), i, static_cast<int32_t>(text.size()), c);
  return c;
}

// The character that ends at `i`, which moves to its beginning.
UChar32 Previous(std::string_view text, int32_t& i) {
  UChar32 c;
  U8_PREV(text.data(), 0, i, c);
  return c;
}

bool IsSingleWord(std::string_view text, int32_t begin, int32_t end) {
  if (begin > 0 && IsOfWord(Previous(text, begin))) return false;
  return end == static_cast<int32_t>(text.size()) || !IsOfWord(Next(text, end));
}

int32_t WithSpaceBefore(std::string_view text, int32_t begin) {
  while (begin > 0) {
    int32_t previous = begin;
    if (!IsSpace(Previous(text, previous))) break;
    begin = previous;
  }
  return begin;
}

int32_t WithSpaceAfter(std::string_view text, int32_t end) {
  while (end < static_cast<int32_t>(text.size())) {
    int32_t next = end;
    if (!IsSpace(Next(text, next))) break;
    end = next;
  }
  return end;
}

uint64_t Edge(uint32_t node, char byte) {
  return uint64_t{node} << 8 | static_cast<uint8_t>(byte);
}

ByteRange Range(int32_t begin, int32_t end) {
  return {static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
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
  int32_t done = 0;  // what the parts cover
  const auto size = static_cast<int32_t>(text.size());
  for (int32_t i = 0; i < size;) {
    const int32_t index = LongestAt(text.substr(static_cast<size_t>(i)));
    if (index < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    int32_t begin = i;
    int32_t end = i + static_cast<int32_t>(token.content.size());
    i = end;
    if (token.single_word && !IsSingleWord(text, begin, end)) continue;
    // The token before may have taken that white space already.
    if (token.lstrip) begin = std::max(WithSpaceBefore(text, begin), done);
    if (token.rstrip) end = WithSpaceAfter(text, end);
    if (done < begin) parts.push_back({Range(done, begin), kNoToken});
    parts.push_back({Range(begin, end), token.id});
    done = end;
  }
  if (done < size) parts.push_back({Range(done, size), kNoToken});
  return parts;
}

}  // namespace drover
