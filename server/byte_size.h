#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace drover {

// "2GiB", "512MiB", "1.5GB", "4096": a whole number of bytes after the unit is
// applied. Units are B, KiB, MiB, GiB, TiB (powers of 1024) and kB, MB, GB, TB
// (powers of 1000); case does not matter. INVALID_ARGUMENT names the text.
absl::StatusOr<int64_t> ParseByteSize(std::string_view text);

// In the largest binary unit that leaves at least one: "1 MiB", "1.50 GiB".
std::string FormatByteSize(int64_t bytes);

}  // namespace drover
