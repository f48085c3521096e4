#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace drover {

// The CPUs near a PCI device ("0000:3b:00.0", either case), as the kernel lists
// them below `root` ("/" outside tests). NOT_FOUND: it lists none.
absl::StatusOr<std::vector<int>> CpusOfPciDevice(const std::string& address,
                                                 const std::string& root = "/");

// Keeps the calling thread, and threads that it starts from now on, on those of
// `cpus` that it may use; memory that they touch first is near these then.
// FAILED_PRECONDITION: it may use none of them. After an error nothing has
// changed.
absl::Status KeepToCpus(const std::vector<int>& cpus);

// Those that the calling thread may use, in order.
std::vector<int> UsableCpus();

// "0-3,8": the kernel's way to write a set of CPUs, which are in order.
std::string CpuListString(const std::vector<int>& cpus);

}  // namespace drover
