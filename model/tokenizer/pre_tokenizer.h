#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "model/tokenizer/regex.h"
#include "model/tokenizer/tokenizer.h"

namespace drover {

// What becomes of the matches of a split, on "the-final--countdown" and "-":
enum class SplitBehavior {
  kRemoved,             // the final countdown
  kIsolated,            // the - final - - countdown
  kMergedWithPrevious,  // the- final- - countdown
  kMergedWithNext,      // the -final - -countdown
  kContiguous,          // the - final -- countdown
};

struct SplitRule {
  Regex regex;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what does not match counts as the match
};

// Cuts a text into the words in which a tokenizer looks for tokens: each rule
// cuts what the ones before it left. Thread-safe.
class PreTokenizer {
 public:
  PreTokenizer() = default;
  explicit PreTokenizer(std::vector<SplitRule> rules);

  // The words in order, none empty. Fails as Regex::FindAll does.
  absl::Status Split(std::string_view text,
                     std::vector<ByteRange>& words) const;

 private:
  std::vector<SplitRule> rules_;
};

}  // namespace drover
