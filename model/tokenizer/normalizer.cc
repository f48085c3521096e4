#include "model/tokenizer/normalizer.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>
#include <unicode/unorm2.h>

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "model/tokenizer/code_points.h"

namespace drover {
namespace {

// Nothing below it changes or composes with what is before it.
constexpr UChar32 kFirstMark = 0x300;

icu::UnicodeSet KnownCharacters() {
  UErrorCode error = U_ZERO_ERROR;
  icu::UnicodeSet known(u"[:age=9.0:]", error);
  DROVER_CHECK(U_SUCCESS(error), "ICU does not know the ages of characters");
  known.freeze();
  return known;
}

const icu::Normalizer2& AllOfNfc() {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(error);
  DROVER_CHECK(U_SUCCESS(error), "ICU has no NFC");
  return *nfc;
}

const icu::Normalizer2& Nfc() {
  static const icu::UnicodeSet known = KnownCharacters();
  static const icu::FilteredNormalizer2 nfc(AllOfNfc(), known);
  return nfc;
}

// A character on its way to the normalised text.
struct Unit {
  UChar32 character;
  uint8_t combining_class;
  // How many characters of the original it stands for; 0 for all but the first
  // of those that one was decomposed into.
  size_t num_consumed;
};

// Takes the characters of a text one by one, gives them normalised. What ICU
// knows of a character and a pair is put together here, because its own
// normalisation of whole texts does not tell which character went where.
class Composer {
 public:
  explicit Composer(std::string_view original) : original_(original) {}

  NormalizedText Run() {
    result_.text.reserve(original_.size());
    result_.origins.reserve(original_.size());
    for (size_t i = 0; i < original_.size();) {
      Decompose(NextCodePoint(original_, i));
    }
    ComposeMarks();
    FlushStarter();
    return std::move(result_);
  }

 private:
  void Decompose(UChar32 character) {
    icu::UnicodeString parts;
    if (!Nfc().getDecomposition(character, parts)) {
      Push(character, /*num_consumed=*/1);
      return;
    }
    size_t num_consumed = 1;
    for (int32_t i = 0; i < parts.length(); i = parts.moveIndex32(i, 1)) {
      Push(parts.char32At(i), num_consumed);
      num_consumed = 0;
    }
  }

  // Marks wait until all are there that belong together: they are sorted.
  void Push(UChar32 character, size_t num_consumed) {
    const Unit unit = {character, Nfc().getCombiningClass(character),
                       num_consumed};
    if (unit.combining_class != 0) {
      marks_.push_back(unit);
      return;
    }
    ComposeMarks();
    AddStarter(unit);
  }

  void AddStarter(const Unit& unit) {
    if (starter_ && uncomposed_.empty() && TryCompose(unit)) return;
    FlushStarter();
    starter_ = unit;
  }

  void ComposeMarks() {
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](const Unit& a, const Unit& b) {
                       return a.combining_class < b.combining_class;
                     });
    for (const Unit& mark : marks_) {
      const bool is_blocked =
          !starter_ ||
          (!uncomposed_.empty() &&
           uncomposed_.back().combining_class >= mark.combining_class);
      if (is_blocked || !TryCompose(mark)) uncomposed_.push_back(mark);
    }
    marks_.clear();
  }

  bool TryCompose(const Unit& unit) {
    const UChar32 composed =
        Nfc().composePair(starter_->character, unit.character);
    if (composed < 0) return false;
    starter_->character = composed;
    starter_->num_consumed += unit.num_consumed;
    return true;
  }

  void FlushStarter() {
    if (starter_) Emit(*starter_);
    for (const Unit& mark : uncomposed_) Emit(mark);
    starter_.reset();
    uncomposed_.clear();
  }

  void Emit(const Unit& unit) {
    // One that consumes nothing comes from where the last one came from.
    ByteRange origin = last_consumed_;
    for (size_t i = 0; i < unit.num_consumed; ++i) {
      size_t end = last_consumed_.end;
      NextCodePoint(original_, end);
      last_consumed_ = {last_consumed_.end, static_cast<uint32_t>(end)};
      if (i == 0) origin = last_consumed_;
    }
    AppendCodePoint(unit.character, result_.text);
    result_.origins.resize(result_.text.size(), origin);
  }

  const std::string_view original_;
  std::vector<Unit> marks_;       // not yet sorted
  std::optional<Unit> starter_;   // not yet emitted
  std::vector<Unit> uncomposed_;  // marks that follow it
  ByteRange last_consumed_;  // the last character of the original that is in
  NormalizedText result_;
};

}  // namespace

// ICU's isNormalizedUTF8 would tell all of them, but takes quadratic time for
// long runs of marks.
bool IsSurelyNfc(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const UChar32 c = NextCodePoint(text, i);
    if (c < kFirstMark) continue;
    if (u_getCombiningClass(c) != 0 ||
        u_getIntPropertyValue(c, UCHAR_NFC_QUICK_CHECK) != UNORM_YES) {
      return false;
    }
  }
  return true;
}

NormalizedText ToNfc(std::string_view text) { return Composer(text).Run(); }

}  // namespace drover
