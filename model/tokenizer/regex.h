#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer.h"

namespace drover {

// A compiled pattern. Thread-safe.
class Regex {
 public:
  // As tokenizer.json spells them (see regex_dialect.h). INVALID_ARGUMENT if
  // it is no regex, UNIMPLEMENTED names what cannot be used.
  static absl::StatusOr<Regex> Compile(std::string_view pattern);
  // Matches this text and nothing else.
  static absl::StatusOr<Regex> Literal(std::string_view text);

  // All matches from left to right. An empty one counts unless it is where the
  // last match ended. `text` is UTF-8. INTERNAL if the pattern takes too long
  // or too much memory for this text.
  absl::Status FindAll(std::string_view text,
                       std::vector<ByteRange>& matches) const;

 private:
  struct Code;

  static absl::StatusOr<Regex> Compile(std::string_view pattern,
                                       uint32_t options);
  explicit Regex(std::shared_ptr<const Code> code);

  std::shared_ptr<const Code> code_;
};

}  // namespace drover
