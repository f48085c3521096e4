// Gives every file of the named folders to a fuzz target, where no libFuzzer
// does: the stored corpus is a test in each build.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/read_file.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

// The number of files; -1 if one cannot be read.
int Replay(const std::filesystem::path& folder) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().string();
    // Told before, so that it is the last line of a run that ends here.
    std::printf("%s\n", name.c_str());
    std::fflush(stdout);
    const auto content = drover::ReadFile(name, 1 << 24);
    if (!content.ok()) {
      std::fprintf(stderr, "%s\n", content.status().ToString().c_str());
      return -1;
    }
    // As libFuzzer does: a copy, where a read beyond its end is noticed.
    const std::vector<uint8_t> bytes(content->begin(), content->end());
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    ++num_files;
  }
  return num_files;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const int num_files = Replay(argv[i]);
    if (num_files < 0) return 1;
    if (num_files == 0) {
      std::fprintf(stderr, "%s has no files\n", argv[i]);
      return 1;
    }
  }
  return argc > 1 ? 0 : 1;
}
