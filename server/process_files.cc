#include "server/process_files.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>

#include "base/strings.h"

namespace drover {
namespace {

// Field 22 of /proc/self/stat: clock ticks from boot to our start; -1 if it
// cannot be read.
int64_t StartTicks() {
  std::ifstream file("/proc/self/stat");
  const std::string stat((std::istreambuf_iterator<char>(file)),
                         std::istreambuf_iterator<char>());
  // Field 2 is the program's name in parentheses, with anything in it.
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return -1;
  std::istringstream fields(stat.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  int64_t ticks = -1;
  fields >> ticks;
  return fields ? ticks : -1;
}

}  // namespace

absl::Duration ProcessAge() {
  const int64_t ticks = StartTicks();
  const long ticks_per_second = sysconf(_SC_CLK_TCK);
  timespec since_boot = {};
  if (ticks < 0 || ticks_per_second <= 0 ||
      clock_gettime(CLOCK_BOOTTIME, &since_boot) != 0) {
    return absl::ZeroDuration();
  }
  const absl::Duration started =
      absl::Seconds(static_cast<double>(ticks) / ticks_per_second);
  return std::max(absl::ZeroDuration(),
                  absl::DurationFromTimespec(since_boot) - started);
}

std::string ProgramBesideThis(std::string_view name) {
  std::error_code error;
  const std::filesystem::path self =
      std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path() / name).string();
}

absl::Status WriteReadyFile(const std::string& path, const ReadyFile& content) {
  std::error_code error;
  const bool replace = !std::filesystem::exists(path, error) ||
                       std::filesystem::is_regular_file(path, error);
  const std::string target = replace ? path + ".partial" : path;
  std::ofstream file(target);
  file << "{\"pid\":" << content.pid << ",\"grpc_port\":" << content.grpc_port
       << ",\"http_port\":" << content.http_port << "}\n";
  file.close();
  if (!file || (replace && std::rename(target.c_str(), path.c_str()) != 0)) {
    return absl::InvalidArgumentError(
        StrCat("--ready-file ", path, ": cannot be written"));
  }
  return absl::OkStatus();
}

void WriteTerminationLog(const std::string& path, std::string_view cause) {
  if (path.empty()) return;
  std::ofstream(path, std::ios::trunc) << cause << '\n';
}

}  // namespace drover
