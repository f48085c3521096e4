#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace drover {

// The content of a regular file of at most `max_bytes`. Errors are one line and
// name the path: NOT_FOUND if there is none, INVALID_ARGUMENT if it is larger
// or a git-lfs pointer, FAILED_PRECONDITION if it cannot be read.
absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     int64_t max_bytes);

// The content of a PEM file, as certificates and keys are. INVALID_ARGUMENT
// also if there is no block of PEM in it.
absl::StatusOr<std::string> ReadPemFile(const std::string& path);

// True for the few lines that git-lfs leaves in place of a file whose content
// was never fetched.
bool IsLfsPointer(std::string_view content);

// The one error for such a file.
absl::Status LfsPointerError(std::string_view path);

}  // namespace drover
