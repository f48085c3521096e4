#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "sharding/child_process.h"

namespace drover::bench {

// A `drover serve` started for a measurement, on free ports of this machine. It
// ends with this object at the latest, and with the thread that started it.
class OwnServer {
 public:
  // `program` is drover; `options` are those of its `serve`, each --flag=value.
  static absl::StatusOr<std::unique_ptr<OwnServer>> Start(
      const std::string& program, const std::vector<std::string>& options);
  // Kills it if it still runs.
  ~OwnServer();

  OwnServer(const OwnServer&) = delete;
  OwnServer& operator=(const OwnServer&) = delete;

  // Waits until it serves; its gRPC port. If it ends instead:
  // RESOURCE_EXHAUSTED with its own words if the model does not fit,
  // UNAVAILABLE with how it ended otherwise.
  absl::StatusOr<int32_t> AwaitReady();

  // Asks it to end. Any thread.
  void Stop();
  // After Stop: UNAVAILABLE if it does not end, or not well.
  absl::Status AwaitEnd();

 private:
  explicit OwnServer(int ready_fd) : ready_fd_(ready_fd) {}

  void OnLine(std::string_view line);
  absl::Status CauseOfEnd();

  const int ready_fd_;  // the server writes its ports to the other end
  absl::Mutex mutex_;
  // Why it gave up, in its own words, or the last that is no line of its log.
  std::string last_error_ ABSL_GUARDED_BY(mutex_);
  std::string last_foreign_line_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ChildProcess> child_;
};

}  // namespace drover::bench
