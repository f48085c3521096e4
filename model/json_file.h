#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace drover {

// Parses `text` as one JSON object without throwing. A key that occurs twice in
// the outermost object is an error. `where` begins the message.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text,
                                               std::string_view where);

// The same for a file of at most `max_bytes`.
absl::StatusOr<nlohmann::json> ReadJsonObject(const std::string& path,
                                              int64_t max_bytes);

}  // namespace drover
