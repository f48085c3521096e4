#pragma once

#include <fstream>
#include <string>

#include "base/strings.h"

namespace drover::bench {

// A file that the user asked for, or did not.
class OutputFile {
 public:
  // Before a long run, not after it. An empty path: nothing is written.
  bool Open(const std::string& path) {
    path_ = path;
    if (!path.empty()) file_.open(path, std::ios::binary);
    return path.empty() || file_.is_open();
  }
  bool Write(const std::string& text) {
    return path_.empty() || (file_ << text << std::flush).good();
  }
  // What went wrong, for the terminal.
  std::string Failure() const { return StrCat("cannot write ", path_); }

 private:
  std::string path_;
  std::ofstream file_;
};

}  // namespace drover::bench
