#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace drover {

// A whole file, mapped read-only; unmapped on destruction. Move-only. Any
// number of threads may read. A file that somebody truncates while it is mapped
// ends the process with SIGBUS: model files are replaced, not rewritten.
class MappedFile {
 public:
  // NOT_FOUND if there is none; FAILED_PRECONDITION if it cannot be read or is
  // no regular file.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  absl::Span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(absl::Span<const std::byte> bytes) : bytes_(bytes) {}

  absl::Span<const std::byte> bytes_;
};

}  // namespace drover
