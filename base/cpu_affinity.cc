#include "base/cpu_affinity.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace drover {
namespace {

// Of what CpuListString writes.
absl::StatusOr<std::vector<int>> ParseCpuList(const std::string& text) {
  std::vector<int> cpus;
  const std::vector<std::string> ranges = absl::StrSplit(text, ',');
  for (const std::string& range : ranges) {
    const std::vector<std::string> ends = absl::StrSplit(range, '-');
    int first = 0;
    int last = 0;
    if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &first) ||
        !absl::SimpleAtoi(ends.back(), &last) || first < 0 ||
        last >= CPU_SETSIZE) {
      return absl::NotFoundError(absl::StrCat("no list of CPUs: ", text));
    }
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace

absl::StatusOr<std::vector<int>> CpusOfPciDevice(const std::string& address,
                                                 const std::string& root) {
  const std::string path =
      absl::StrCat(root, "sys/bus/pci/devices/", absl::AsciiStrToLower(address),
                   "/local_cpulist");
  std::ifstream file(path);
  std::string list;
  if (!(file >> list)) {
    return absl::NotFoundError(absl::StrCat(path, ": no list of CPUs"));
  }
  return ParseCpuList(list);
}

absl::Status KeepToCpus(const std::vector<int>& cpus) {
  cpu_set_t kept;
  CPU_ZERO(&kept);
  for (const int cpu : UsableCpus()) {
    if (std::find(cpus.begin(), cpus.end(), cpu) != cpus.end()) {
      CPU_SET(cpu, &kept);
    }
  }
  if (CPU_COUNT(&kept) == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("none of the CPUs ", CpuListString(cpus),
                     " may be used, only ", CpuListString(UsableCpus())));
  }
  if (sched_setaffinity(0, sizeof(kept), &kept) != 0) {
    return absl::InternalError(
        absl::StrCat("sched_setaffinity: ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

std::vector<int> UsableCpus() {
  cpu_set_t allowed;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
  }
  return cpus;
}

std::string CpuListString(const std::vector<int>& cpus) {
  std::string list;
  for (size_t i = 0; i < cpus.size(); ++i) {
    const bool follows = i > 0 && cpus[i] == cpus[i - 1] + 1;
    const bool goes_on = i + 1 < cpus.size() && cpus[i + 1] == cpus[i] + 1;
    if (follows && goes_on) continue;
    if (i > 0) list += follows ? '-' : ',';
    absl::StrAppend(&list, cpus[i]);
  }
  return list;
}

}  // namespace drover
