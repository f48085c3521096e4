#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/client/bench/seeded_random.h"

namespace drover::bench {

// A number of tokens, fixed or drawn uniformly from [min, max].
struct LengthRange {
  int32_t min = 1;
  int32_t max = 1;

  int32_t Draw(SeededRandom& random) const;
  // As ParseLengthRange reads it.
  std::string ToString() const;
};

// "A" or "A:B" with 1 <= A <= B <= 10,000,000. The error names `flag`.
absl::StatusOr<LengthRange> ParseLengthRange(std::string_view flag,
                                             std::string_view text);

}  // namespace drover::bench
