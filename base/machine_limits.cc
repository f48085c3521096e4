#include "base/machine_limits.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace drover {
namespace {

// The first whitespace-separated word of the file, and the second if wanted.
bool ReadWords(const std::string& path, std::string* first,
               std::string* second = nullptr) {
  std::ifstream file(path);
  if (!(file >> *first)) return false;
  return second == nullptr || static_cast<bool>(file >> *second);
}

std::optional<int64_t> ReadNumber(const std::string& path) {
  std::string word;
  int64_t value = 0;
  if (!ReadWords(path, &word) || !absl::SimpleAtoi(word, &value)) {
    return std::nullopt;
  }
  return value;
}

// This process's cgroup under a version 1 controller, or under version 2 (the
// controller is ""), from lines such as "4:cpu,cpuacct:/a/b" and "0::/a/b". "/"
// if there is no such line: inside a container the root is all there is.
std::string CgroupPath(const std::string& root, std::string_view controller) {
  std::ifstream file(absl::StrCat(root, "proc/self/cgroup"));
  std::string line;
  while (std::getline(file, line)) {
    const std::vector<std::string> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::vector<std::string> names = absl::StrSplit(parts[1], ',');
    if (std::find(names.begin(), names.end(), controller) != names.end()) {
      return parts[2];
    }
  }
  return "/";
}

// The smallest limit of a cgroup and all around it. read(folder) gives one.
template <typename T>
std::optional<T> SmallestLimit(
    const std::string& mount, std::string path,
    const std::function<std::optional<T>(const std::string&)>& read) {
  std::optional<T> smallest;
  while (true) {
    const std::optional<T> limit = read(absl::StrCat(mount, path, "/"));
    if (limit && (!smallest || *limit < *smallest)) smallest = limit;
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return smallest;
    path.resize(slash);
  }
}

std::optional<double> Version2Quota(const std::string& folder) {
  std::string quota, period;
  int64_t quota_us = 0, period_us = 0;
  if (!ReadWords(absl::StrCat(folder, "cpu.max"), &quota, &period) ||
      !absl::SimpleAtoi(quota, &quota_us) ||
      !absl::SimpleAtoi(period, &period_us) || period_us <= 0) {
    return std::nullopt;  // no file, or "max"
  }
  return static_cast<double>(quota_us) / static_cast<double>(period_us);
}

std::optional<double> Version1Quota(const std::string& folder) {
  const auto quota = ReadNumber(absl::StrCat(folder, "cpu.cfs_quota_us"));
  const auto period = ReadNumber(absl::StrCat(folder, "cpu.cfs_period_us"));
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

// CPUs granted by the cgroups' quotas; nullopt without one.
std::optional<double> CpuQuota(const std::string& root) {
  const std::string mount = absl::StrCat(root, "sys/fs/cgroup");
  if (const auto quota =
          SmallestLimit<double>(mount, CgroupPath(root, ""), Version2Quota)) {
    return quota;
  }
  return SmallestLimit<double>(absl::StrCat(mount, "/cpu"),
                               CgroupPath(root, "cpu"), Version1Quota);
}

std::optional<int64_t> CgroupMemory(const std::string& root) {
  const std::string mount = absl::StrCat(root, "sys/fs/cgroup");
  const auto read = [](const char* file) {
    return [file](const std::string& folder) {
      return ReadNumber(absl::StrCat(folder, file));
    };
  };
  if (const auto limit = SmallestLimit<int64_t>(mount, CgroupPath(root, ""),
                                                read("memory.max"))) {
    return limit;
  }
  return SmallestLimit<int64_t>(absl::StrCat(mount, "/memory"),
                                CgroupPath(root, "memory"),
                                read("memory.limit_in_bytes"));
}

std::optional<int64_t> MachineMemory(const std::string& root) {
  std::ifstream file(absl::StrCat(root, "proc/meminfo"));
  std::string key, unit;
  int64_t kibibytes = 0;
  while (file >> key >> kibibytes) {
    std::getline(file, unit);
    if (key == "MemTotal:") return kibibytes * 1024;
  }
  return std::nullopt;
}

}  // namespace

MachineLimits ReadMachineLimits(const std::string& root) {
  MachineLimits limits;
  cpu_set_t affinity;
  if (sched_getaffinity(0, sizeof(affinity), &affinity) == 0) {
    limits.num_cpus = std::max(1, CPU_COUNT(&affinity));
  }
  if (const auto quota = CpuQuota(root)) {
    const int whole = static_cast<int>(*quota + 0.999);
    limits.num_cpus = std::clamp(whole, 1, limits.num_cpus);
  }
  const auto machine = MachineMemory(root);
  const auto cgroup = CgroupMemory(root);
  if (machine && cgroup) {
    limits.memory_bytes = std::min(*machine, *cgroup);
  } else {
    limits.memory_bytes = machine.value_or(cgroup.value_or(0));
  }
  return limits;
}

}  // namespace drover
