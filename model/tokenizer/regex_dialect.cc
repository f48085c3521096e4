#include "model/tokenizer/regex_dialect.h"

#include <array>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/tokenizer/utf8_assembler.h"

namespace drover {
namespace {

// What may follow an opening parenthesis.
constexpr std::array<std::string_view, 7> kGroups = {
    "?:", "?=", "?!", "?<=", "?<!", "?>", "?i:"};

bool IsPunctuation(char c) {
  return absl::ascii_isascii(static_cast<unsigned char>(c)) &&
         !absl::ascii_isalnum(static_cast<unsigned char>(c));
}

bool IsControlEscape(char c) {
  return c == 'r' || c == 'n' || c == 't' || c == 'f';
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// L, Lu, Nd, ...; PCRE2 itself knows which of them there are.
bool IsGeneralCategory(std::string_view name) {
  if (name.empty() || name.size() > 2) return false;
  if (!absl::ascii_isupper(static_cast<unsigned char>(name[0]))) return false;
  return name.size() == 1 ||
         absl::ascii_islower(static_cast<unsigned char>(name[1]));
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (!rest_.empty()) DROVER_RETURN_IF_ERROR(TranslateOne());
    return std::move(out_);
  }

 private:
  absl::Status TranslateOne() {
    switch (rest_[0]) {
      case '\\':
        return TranslateEscape();
      case '[':
        return TranslateClass();
      case '(':
        return TranslateGroup();
      case ')':
        if (!is_caseless_.empty()) is_caseless_.pop_back();
        Copy(1);
        return absl::OkStatus();
      case '{':
        return TranslateCount();
      case '^':
      case '$':
        return Refuse(rest_.substr(0, 1));
      default:
        Copy(1);
        return absl::OkStatus();
    }
  }

  // \r \n \t \f, punctuation, \s \S \d \D, \p{..} \P{..}
  absl::Status TranslateEscape() {
    if (rest_.size() < 2) return Refuse(rest_);
    switch (const char c = rest_[1]) {
      case 's':
        return Replace(2, "\\p{White_Space}");
      case 'S':
        return Replace(2, "\\P{White_Space}");
      case 'd':
        return Replace(2, "\\p{Nd}");
      case 'D':
        return Replace(2, "\\P{Nd}");
      case 'p':
      case 'P':
        return TranslateProperty();
      default:
        if (!IsPunctuation(c) && !IsControlEscape(c)) {
          return Refuse(Front(2));
        }
        Copy(2);
        return absl::OkStatus();
    }
  }

  absl::Status TranslateProperty() {
    const size_t size = rest_.substr(0, rest_.find('}')).size() + 1;
    if (size > rest_.size() || rest_[2] != '{' ||
        !IsGeneralCategory(rest_.substr(3, size - 4))) {
      return Refuse(rest_.substr(0, size));
    }
    // Whether \p{Lu} has a case then is where the libraries differ.
    if (!is_caseless_.empty() && is_caseless_.back()) {
      return Refuse(StrCat(rest_.substr(0, size), " inside (?i:"));
    }
    Copy(size);
    return absl::OkStatus();
  }

  absl::Status TranslateClass() {
    const bool is_negated = rest_.substr(1).starts_with('^');
    Copy(is_negated ? 2 : 1);
    if (rest_.starts_with(']')) return Refuse("a class that begins with ]");
    while (!rest_.empty() && rest_[0] != ']') {
      if (rest_[0] == '[') return Refuse("a class inside a class");
      if (rest_.starts_with("&&")) return Refuse("&& in a class");
      if (rest_[0] != '\\') {
        Copy(1);
      } else {
        DROVER_RETURN_IF_ERROR(TranslateEscape());
      }
    }
    if (rest_.empty()) return Refuse("a class without an end");
    Copy(1);
    return absl::OkStatus();
  }

  absl::Status TranslateGroup() {
    const bool outer = !is_caseless_.empty() && is_caseless_.back();
    Copy(1);
    if (rest_.starts_with('*')) return Refuse("(*");
    if (!rest_.starts_with('?')) {
      is_caseless_.push_back(outer);
      return absl::OkStatus();
    }
    for (const std::string_view group : kGroups) {
      if (!rest_.starts_with(group)) continue;
      Copy(group.size());
      is_caseless_.push_back(outer || group == "?i:");
      return absl::OkStatus();
    }
    return Refuse(StrCat("(", Front(3)));
  }

  // {2} {2,} {2,3}; Ruby's {2}? and {2}+ are not those of PCRE2.
  absl::Status TranslateCount() {
    size_t size = 1;
    while (size < rest_.size() && IsDigit(rest_[size])) ++size;
    const bool has_minimum = size > 1;
    if (rest_.substr(size).starts_with(',')) ++size;
    while (size < rest_.size() && IsDigit(rest_[size])) ++size;
    if (!has_minimum || !rest_.substr(size).starts_with('}')) {
      return Refuse(Front(size + 1));
    }
    Copy(size + 1);
    if (rest_.starts_with('?') || rest_.starts_with('+')) {
      return Refuse(StrCat("{..}", rest_.substr(0, 1)));
    }
    return absl::OkStatus();
  }

  // The next `size` bytes, and with them the last one's whole character.
  std::string_view Front(size_t size) const {
    while (size < rest_.size() && IsContinuationByte(rest_[size])) ++size;
    return rest_.substr(0, size);
  }

  void Copy(size_t size) {
    out_ += rest_.substr(0, size);
    rest_.remove_prefix(size);
  }

  absl::Status Replace(size_t size, std::string_view by) {
    out_ += by;
    rest_.remove_prefix(size);
    return absl::OkStatus();
  }

  static absl::Status Refuse(std::string_view what) {
    return absl::UnimplementedError(
        StrCat("the regex has ", Quoted(what), ", which cannot be used"));
  }

  std::string_view rest_;
  std::string out_;
  std::vector<bool> is_caseless_;  // by open group
};

}  // namespace

absl::StatusOr<std::string> ToPcre2(std::string_view pattern) {
  return Translator(pattern).Run();
}

}  // namespace drover
