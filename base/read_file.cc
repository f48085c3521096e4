#include "base/read_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/status/status.h"
#include "base/strings.h"

namespace drover {

absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     int64_t max_bytes) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) {
    const std::string message = StrCat(path, ": ", std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(message)
                           : absl::FailedPreconditionError(message);
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(StrCat(path, ": not a regular file"));
  }
  if (info.st_size > max_bytes) {
    return absl::InvalidArgumentError(StrCat(
        path, ": ", info.st_size, " bytes, at most ", max_bytes, " are read"));
  }
  std::string content(static_cast<size_t>(info.st_size), '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(content.data(), info.st_size)) {
    return absl::FailedPreconditionError(StrCat(path, ": cannot read"));
  }
  if (IsLfsPointer(content)) return LfsPointerError(path);
  return content;
}

absl::StatusOr<std::string> ReadPemFile(const std::string& path) {
  constexpr int64_t kMaxBytes = 1 << 20;
  absl::StatusOr<std::string> content = ReadFile(path, kMaxBytes);
  if (content.ok() && content->find("-----BEGIN ") == std::string::npos) {
    return absl::InvalidArgumentError(
        StrCat(path, ": not a PEM file (it has no \"-----BEGIN\")"));
  }
  return content;
}

bool IsLfsPointer(std::string_view content) {
  return content.starts_with("version https://git-lfs.github.com/spec/");
}

absl::Status LfsPointerError(std::string_view path) {
  return absl::InvalidArgumentError(
      StrCat(path,
             ": a git-lfs pointer, not the file itself (fetch it "
             "with `git lfs pull`)"));
}

}  // namespace drover
