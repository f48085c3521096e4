#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace drover {

// Since the kernel started this process, to a hundredth of a second; zero if it
// does not say.
absl::Duration ProcessAge();

// The program of that name in the folder of this one.
std::string ProgramBesideThis(std::string_view name);

// What --ready-file holds: {"pid":1,"grpc_port":8033,"http_port":3000}.
struct ReadyFile {
  int64_t pid = 0;
  int32_t grpc_port = 0;
  int32_t http_port = 0;
};

// A file appears complete or not at all; a FIFO or a device that is already
// there is written to.
absl::Status WriteReadyFile(const std::string& path, const ReadyFile& content);

// Leaves `cause` for Kubernetes, which reads this file when the container has
// ended. Does nothing if the file can be neither opened nor created.
void WriteTerminationLog(const std::string& path, std::string_view cause);

}  // namespace drover
