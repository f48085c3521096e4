#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace drover {

// A program started by us. It runs in a process group of its own, so that a
// terminal's Ctrl-C reaches only us; the kernel kills it when the thread that
// started it goes; what it prints comes back line by line.
class ChildProcess {
 public:
  struct Options {
    std::string program;            // a path
    std::vector<std::string> args;  // without the program's name
    // "NAME=value", each unless our own environment has the name.
    std::vector<std::string> default_env;
    // Passed to the child as descriptor kInheritedFd; closed here. -1: none.
    int inherited_fd = -1;
    // Stay open in the child under the same numbers, which are above
    // kInheritedFd; not closed here.
    std::vector<int> kept_fds;
    // Each line of its standard output and error, without the newline. On a
    // thread of this object's.
    std::function<void(std::string_view line)> on_line;
  };
  static constexpr int kInheritedFd = 3;

  // Returns once the child is that program. NOT_FOUND if it cannot be executed,
  // INTERNAL if there is no process to be had.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(Options options);
  // Kills it if it still runs, and waits for it.
  ~ChildProcess();

  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }

  // True once it has ended and its last line was delivered.
  bool WaitForExit(absl::Duration timeout) const;

  // How it ended: "exited with status 1". Only after WaitForExit returned true.
  std::string Epitaph() const;
  // Nothing if a signal killed it. Only after WaitForExit returned true.
  std::optional<int> exit_status() const;

  void Signal(int signal);

 private:
  ChildProcess(pid_t pid, int output_fd, Options options);
  void ReadOutput();
  bool has_exited() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return exited_; }

  const pid_t pid_;
  const int output_fd_;
  const Options options_;
  mutable absl::Mutex mutex_;
  bool exited_ ABSL_GUARDED_BY(mutex_) = false;
  int wait_status_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread reader_;
};

}  // namespace drover
