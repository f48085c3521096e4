#include "base/machine_limits.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

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

// CPUs granted by the cgroup's quota; nullopt without one.
std::optional<double> CpuQuota(const std::string& root) {
  std::string quota, period;
  int64_t quota_us = 0, period_us = 0;
  if (ReadWords(absl::StrCat(root, "sys/fs/cgroup/cpu.max"), &quota, &period)) {
    if (!absl::SimpleAtoi(quota, &quota_us) ||
        !absl::SimpleAtoi(period, &period_us) || period_us <= 0) {
      return std::nullopt;  // "max": no quota
    }
    return static_cast<double>(quota_us) / static_cast<double>(period_us);
  }
  const auto v1_quota =
      ReadNumber(absl::StrCat(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us"));
  const auto v1_period =
      ReadNumber(absl::StrCat(root, "sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  if (!v1_quota || !v1_period || *v1_quota <= 0 || *v1_period <= 0) {
    return std::nullopt;
  }
  return static_cast<double>(*v1_quota) / static_cast<double>(*v1_period);
}

std::optional<int64_t> CgroupMemory(const std::string& root) {
  if (auto v2 = ReadNumber(absl::StrCat(root, "sys/fs/cgroup/memory.max"))) {
    return v2;
  }
  return ReadNumber(
      absl::StrCat(root, "sys/fs/cgroup/memory/memory.limit_in_bytes"));
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
