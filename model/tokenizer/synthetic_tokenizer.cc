#include <charconv>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "base/check.h"
#include "base/fnv1a.h"
#include "base/strings.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/utf8_assembler.h"

namespace drover {
namespace {

constexpr int32_t kBosId = 1;
constexpr int32_t kEosId = 2;
constexpr std::string_view kAsciiSpace = " \t\n\v\f\r";

bool IsControl(int32_t id) { return id == kBosId || id == kEosId; }

class SyntheticTokenizer : public Tokenizer {
 public:
  explicit SyntheticTokenizer(int32_t vocab_size) {
    DROVER_CHECK(vocab_size > kEosId + 1, "no id is left for words");
    words_.reserve(static_cast<size_t>(vocab_size));
    for (int32_t id = 0; id < vocab_size; ++id) {
      words_.push_back(IsControl(id) ? "" : StrCat(" w", id));
    }
  }

  absl::StatusOr<Encoding> Encode(std::string_view text,
                                  bool with_offsets) const override {
    if (!IsValidUtf8(text)) {
      return absl::InvalidArgumentError("the text is not UTF-8");
    }
    Encoding encoding;
    encoding.ids.push_back(kBosId);
    if (with_offsets) encoding.offsets.push_back({0, 0});
    size_t begin = text.find_first_not_of(kAsciiSpace);
    while (begin != text.npos) {
      size_t end = text.find_first_of(kAsciiSpace, begin);
      if (end == text.npos) end = text.size();
      encoding.ids.push_back(IdOf(text.substr(begin, end - begin)));
      if (with_offsets) {
        encoding.offsets.push_back(
            {static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
      }
      begin = text.find_first_not_of(kAsciiSpace, end);
    }
    return encoding;
  }

  std::string Piece(int32_t id) const override {
    if (id == kBosId) return "<s>";
    if (id == kEosId) return "</s>";
    return Contains(id) ? StrCat("▁w", id) : "";
  }

  std::string_view Bytes(int32_t id) const override {
    return Contains(id) ? words_[static_cast<size_t>(id)] : std::string_view();
  }

  bool IsSpecial(int32_t id) const override { return IsControl(id); }
  std::optional<int32_t> bos_id() const override { return kBosId; }
  int32_t vocab_size() const override {
    return static_cast<int32_t>(words_.size());
  }

 private:
  bool Contains(int32_t id) const { return id >= 0 && id < vocab_size(); }

  // "w<n>" is n, so that generated text encodes to its own ids; any other word
  // has an id by its hash, never BOS or EOS.
  int32_t IdOf(std::string_view word) const {
    int32_t id = -1;
    if (word.starts_with('w')) {
      std::from_chars(word.data() + 1, word.data() + word.size(), id);
    }
    // Only the one spelling: w7, not w07.
    if (Contains(id) && Bytes(id) == StrCat(" ", word)) return id;
    const auto num_words = static_cast<uint64_t>(vocab_size() - 2);
    const auto index = static_cast<int32_t>(Fnv1a(word) % num_words);
    return index < kBosId ? index : index + 2;
  }

  std::vector<std::string> words_;  // " w<n>" by id; empty for control ids
};

}  // namespace

std::unique_ptr<Tokenizer> MakeSyntheticTokenizer(int32_t vocab_size) {
  return std::make_unique<SyntheticTokenizer>(vocab_size);
}

}  // namespace drover
