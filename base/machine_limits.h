#pragma once

#include <cstdint>
#include <string>

namespace drover {

// What this process may use: the smallest of the machine, the CPU affinity and
// its cgroup (v2, or v1 controllers) with all those around it, each read from
// below `root` ("/" outside tests).
struct MachineLimits {
  int num_cpus = 1;          // whole CPUs, at least 1; a quota rounds up
  int64_t memory_bytes = 0;  // 0: could not be read
};

MachineLimits ReadMachineLimits(const std::string& root = "/");

}  // namespace drover
