#include "model/tokenizer/bpe.h"

#include <compare>
#include <functional>
#include <optional>
#include <queue>
#include <utility>

#include "base/strings.h"

namespace drover {

// A word whose tokens are being merged: a doubly linked list in an array, in
// which a merge writes its token over the left one and empties the right one.
class Bpe::Word {
 public:
  Word(std::string_view bytes, const BpeTables& tables) : tables_(tables) {
    const auto size = static_cast<int32_t>(bytes.size());
    symbols_.reserve(bytes.size());
    for (int32_t i = 0; i < size; ++i) {
      const auto byte = static_cast<uint8_t>(bytes[static_cast<size_t>(i)]);
      symbols_.push_back({.id = tables_.byte_ids[byte],
                          .end = static_cast<uint32_t>(i) + 1,
                          .previous = i - 1,
                          .next = i + 1 < size ? i + 1 : kNone});
    }
  }

  void MergeAll() {
    std::vector<Candidate> candidates;
    candidates.reserve(symbols_.size());
    for (int32_t i = 0; i < std::ssize(symbols_); ++i) {
      if (const auto candidate = CandidateAt(i)) {
        candidates.push_back(*candidate);
      }
    }
    queue_ = Queue(std::greater<>(), std::move(candidates));
    while (!queue_.empty()) {
      const Candidate candidate = queue_.top();
      queue_.pop();
      if (IsCurrent(candidate)) Merge(candidate);
    }
  }

  void AppendTokens(std::vector<Token>& tokens) const {
    for (int32_t i = 0; i != kNone; i = At(i).next) {
      tokens.push_back({At(i).id, At(i).end});
    }
  }

 private:
  static constexpr int32_t kNone = -1;

  struct Symbol {
    int32_t id;  // kNone: merged into the one before
    uint32_t end;
    int32_t previous;
    int32_t next;
  };

  // The token at `at` and the next one may become `id`.
  struct Candidate {
    int32_t rank;
    int32_t at;
    int32_t id;

    auto operator<=>(const Candidate&) const = default;
  };

  using Queue =
      std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>>;

  const Symbol& At(int32_t i) const { return symbols_[static_cast<size_t>(i)]; }
  Symbol& At(int32_t i) { return symbols_[static_cast<size_t>(i)]; }

  std::optional<Candidate> CandidateAt(int32_t i) const {
    const int32_t next = At(i).next;
    if (next == kNone) return std::nullopt;
    const auto merge =
        tables_.merges.find(BpeTables::Pair(At(i).id, At(next).id));
    if (merge == tables_.merges.end()) return std::nullopt;
    return Candidate{merge->second.rank, i, merge->second.id};
  }

  // Whether a merge has not changed what a candidate was made for.
  bool IsCurrent(const Candidate& candidate) const {
    return At(candidate.at).id != kNone &&
           CandidateAt(candidate.at) == candidate;
  }

  void Merge(const Candidate& candidate) {
    Symbol& left = At(candidate.at);
    Symbol& right = At(left.next);
    left.id = candidate.id;
    left.end = right.end;
    left.next = right.next;
    right.id = kNone;
    if (left.next != kNone) At(left.next).previous = candidate.at;
    for (const int32_t i : {left.previous, candidate.at}) {
      if (i == kNone) continue;
      if (const auto changed = CandidateAt(i)) queue_.push(*changed);
    }
  }

  const BpeTables& tables_;
  std::vector<Symbol> symbols_;
  Queue queue_;
};

Bpe::Bpe(BpeTables tables) : tables_(std::move(tables)) {}

void Bpe::Encode(std::string_view word, std::vector<Token>& tokens) const {
  tokens.clear();
  if (word.empty()) return;
  const auto whole = tables_.whole_words.find(ToAbsl(word));
  if (whole != tables_.whole_words.end()) {
    tokens.push_back({whole->second, static_cast<uint32_t>(word.size())});
    return;
  }
  Word merged(word, tables_);
  merged.MergeAll();
  merged.AppendTokens(tokens);
}

}  // namespace drover
