#include "sharding/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace drover {
namespace {

// Longer lines are cut: a child that prints no newline must not fill memory.
constexpr size_t kMaxLineBytes = 64 * 1024;

// Both ends close when a program is executed.
struct Pipe {
  int read_end = -1;
  int write_end = -1;
};

absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return absl::InternalError(absl::StrCat("pipe: ", std::strerror(errno)));
  }
  return Pipe{ends[0], ends[1]};
}

// What the child needs to know, prepared before the fork.
struct ChildPlan {
  const char* program;
  char* const* argv;
  char* const* env;
  int output_fd;
  int exec_error_fd;  // receives errno if there is no such program after all
  int inherited_fd;
  const std::vector<int>& kept_fds;
  pid_t parent;
};

// In the child, between fork and exec: async-signal-safe calls only.
[[noreturn]] void Become(const ChildPlan& plan) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != plan.parent) _exit(127);  // it died before we asked
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(plan.output_fd, STDOUT_FILENO);
  dup2(plan.output_fd, STDERR_FILENO);
  int exec_error_fd = plan.exec_error_fd;
  if (exec_error_fd == ChildProcess::kInheritedFd) {
    exec_error_fd = fcntl(exec_error_fd, F_DUPFD_CLOEXEC, exec_error_fd + 1);
  }
  if (plan.inherited_fd == ChildProcess::kInheritedFd) {
    fcntl(plan.inherited_fd, F_SETFD, 0);
  } else if (plan.inherited_fd >= 0) {
    dup2(plan.inherited_fd, ChildProcess::kInheritedFd);
  }
  for (const int fd : plan.kept_fds) fcntl(fd, F_SETFD, 0);
  execve(plan.program, plan.argv, plan.env);
  const int error = errno;
  static_cast<void>(write(exec_error_fd, &error, sizeof(error)) > 0);
  _exit(127);
}

// Waits until the child has become the program: 0, or the errno of why not.
int ReadExecError(int fd) {
  int error = 0;
  ssize_t count = 0;
  do {
    count = read(fd, &error, sizeof(error));
  } while (count < 0 && errno == EINTR);
  return count == sizeof(error) ? error : 0;
}

absl::Status CannotExecute(const std::string& program, int error) {
  return absl::NotFoundError(
      absl::StrCat("cannot execute ", program, ": ", std::strerror(error)));
}

std::vector<char*> ArgvOf(ChildProcess::Options& options) {
  std::vector<char*> argv = {options.program.data()};
  for (std::string& arg : options.args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  return argv;
}

std::vector<char*> EnvironmentOf(ChildProcess::Options& options) {
  std::vector<char*> env;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    env.push_back(*entry);
  }
  for (std::string& entry : options.default_env) {
    const std::string name = entry.substr(0, entry.find('='));
    if (getenv(name.c_str()) == nullptr) env.push_back(entry.data());
  }
  env.push_back(nullptr);
  return env;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    Options options) {
  const absl::Cleanup close_inherited = [fd = options.inherited_fd] {
    if (fd >= 0) close(fd);
  };
  DROVER_ASSIGN_OR_RETURN(const Pipe output, MakePipe());
  absl::Cleanup close_output = [fd = output.read_end] { close(fd); };
  absl::Cleanup close_child_output = [fd = output.write_end] { close(fd); };
  DROVER_ASSIGN_OR_RETURN(const Pipe exec_error, MakePipe());
  const absl::Cleanup close_exec_error = [fd = exec_error.read_end] {
    close(fd);
  };
  const std::vector<char*> argv = ArgvOf(options);
  const std::vector<char*> env = EnvironmentOf(options);
  const ChildPlan plan = {.program = options.program.c_str(),
                          .argv = argv.data(),
                          .env = env.data(),
                          .output_fd = output.write_end,
                          .exec_error_fd = exec_error.write_end,
                          .inherited_fd = options.inherited_fd,
                          .kept_fds = options.kept_fds,
                          .parent = getpid()};
  const pid_t pid = fork();
  if (pid == 0) Become(plan);
  const int fork_error = errno;
  close(exec_error.write_end);
  std::move(close_child_output).Invoke();
  if (pid < 0) {
    return absl::InternalError(
        absl::StrCat("fork: ", std::strerror(fork_error)));
  }
  if (const int error = ReadExecError(exec_error.read_end); error != 0) {
    waitpid(pid, nullptr, 0);
    return CannotExecute(options.program, error);
  }
  std::move(close_output).Cancel();
  return std::unique_ptr<ChildProcess>(
      new ChildProcess(pid, output.read_end, std::move(options)));
}

ChildProcess::ChildProcess(pid_t pid, int output_fd, Options options)
    : pid_(pid), output_fd_(output_fd), options_(std::move(options)) {
  reader_ = std::thread([this] { ReadOutput(); });
}

ChildProcess::~ChildProcess() {
  Signal(SIGKILL);
  reader_.join();
  close(output_fd_);
}

void ChildProcess::ReadOutput() {
  std::array<char, 4096> buffer;
  std::string line;
  const auto finish_line = [&] {
    if (options_.on_line) options_.on_line(line);
    line.clear();
  };
  while (true) {
    const ssize_t count = read(output_fd_, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    for (ssize_t i = 0; i < count; ++i) {
      const char c = buffer[static_cast<size_t>(i)];
      if (c == '\n') {
        finish_line();
      } else if (line.size() < kMaxLineBytes) {
        line.push_back(c);
      }
    }
  }
  if (!line.empty()) finish_line();

  // Its id stays taken until Signal cannot use it any more.
  siginfo_t ignored;
  while (waitid(P_PID, static_cast<id_t>(pid_), &ignored, WEXITED | WNOWAIT) <
             0 &&
         errno == EINTR) {
  }
  absl::MutexLock lock(&mutex_);
  waitpid(pid_, &wait_status_, 0);
  exited_ = true;
}

bool ChildProcess::WaitForExit(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(
      absl::Condition(this, &ChildProcess::has_exited), timeout);
}

std::string ChildProcess::Epitaph() const {
  absl::MutexLock lock(&mutex_);
  if (!WIFSIGNALED(wait_status_)) {
    return absl::StrCat("exited with status ", WEXITSTATUS(wait_status_));
  }
  const int signal = WTERMSIG(wait_status_);
  return absl::StrCat("was killed by signal ", signal, " (", strsignal(signal),
                      signal == SIGKILL ? "; perhaps memory ran out)" : ")");
}

std::optional<int> ChildProcess::exit_status() const {
  absl::MutexLock lock(&mutex_);
  if (WIFSIGNALED(wait_status_)) return std::nullopt;
  return WEXITSTATUS(wait_status_);
}

void ChildProcess::Signal(int signal) {
  absl::MutexLock lock(&mutex_);
  if (!exited_) kill(pid_, signal);
}

}  // namespace drover
