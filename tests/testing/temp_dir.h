#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

#include "base/check.h"

namespace drover {

// A fresh folder, removed with its content on destruction.
class TempDir {
 public:
  TempDir() {
    std::string name =
        (std::filesystem::temp_directory_path() / "drover-test-XXXXXX")
            .string();
    DROVER_CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }

  // Writes a file of this folder, in place of an earlier one; gives its path.
  std::string Write(std::string_view name, std::string_view content) const {
    const std::string path = path_ + "/" + std::string(name);
    // A new file: file systems write a truncated one out at once.
    std::filesystem::remove(path);
    std::ofstream file(path, std::ios::binary);
    file << content;
    file.close();
    DROVER_CHECK(file.good());
    return path;
  }

 private:
  std::string path_;
};

}  // namespace drover
