#pragma once

#include <string>

#include "absl/status/status.h"
#include "model/device_facts.h"
#include "scheduler/executor.h"

namespace drover {

// Serves the router at the other end of `fd`, a connected stream socket that
// this call takes over, until it goes away. `device` is what the executor runs
// on.
absl::Status ServeShard(Executor& executor, const DeviceFacts& device,
                        const std::string& version,
                        const std::string& model_fingerprint, int fd);

}  // namespace drover
