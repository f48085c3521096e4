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

#include "absl/strings/str_cat.h"

namespace drover {
namespace {

// Longer lines are cut: a child that prints no newline must not fill memory.
constexpr size_t kMaxLineBytes = 64 * 1024;

// In the child, between fork and exec: async-signal-safe calls only.
[[noreturn]] void Become(const char* program, char* const* argv,
                         char* const* env, int output_fd, int inherited_fd,
                         pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // it died before we asked
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(output_fd, STDOUT_FILENO);
  dup2(output_fd, STDERR_FILENO);
  if (inherited_fd == ChildProcess::kInheritedFd) {
    fcntl(inherited_fd, F_SETFD, 0);
  } else if (inherited_fd >= 0) {
    dup2(inherited_fd, ChildProcess::kInheritedFd);
  }
  execve(program, argv, env);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    Options options) {
  if (access(options.program.c_str(), X_OK) != 0) {
    if (options.inherited_fd >= 0) close(options.inherited_fd);
    return absl::NotFoundError(absl::StrCat("cannot execute ", options.program,
                                            ": ", std::strerror(errno)));
  }
  int output[2];
  if (pipe2(output, O_CLOEXEC) != 0) {
    if (options.inherited_fd >= 0) close(options.inherited_fd);
    return absl::InternalError(absl::StrCat("pipe: ", std::strerror(errno)));
  }
  std::vector<char*> argv = {options.program.data()};
  for (std::string& arg : options.args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  std::vector<char*> env;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    env.push_back(*entry);
  }
  for (std::string& entry : options.default_env) {
    const std::string name = entry.substr(0, entry.find('='));
    if (getenv(name.c_str()) == nullptr) env.push_back(entry.data());
  }
  env.push_back(nullptr);

  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    Become(options.program.c_str(), argv.data(), env.data(), output[1],
           options.inherited_fd, parent);
  }
  const int fork_error = errno;
  close(output[1]);
  if (options.inherited_fd >= 0) close(options.inherited_fd);
  if (pid < 0) {
    close(output[0]);
    return absl::InternalError(
        absl::StrCat("fork: ", std::strerror(fork_error)));
  }
  return std::unique_ptr<ChildProcess>(
      new ChildProcess(pid, output[0], std::move(options)));
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
  std::string line, last;
  const auto finish_line = [&] {
    if (options_.on_line) options_.on_line(line);
    if (!line.empty()) last = line;
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

  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  absl::MutexLock lock(&mutex_);
  exited_ = true;
  wait_status_ = status;
  last_line_ = std::move(last);
}

bool ChildProcess::WaitForExit(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(
      absl::Condition(this, &ChildProcess::has_exited), timeout);
}

bool ChildProcess::exited_cleanly() const {
  absl::MutexLock lock(&mutex_);
  return WIFEXITED(wait_status_) && WEXITSTATUS(wait_status_) == 0;
}

std::string ChildProcess::Epitaph() const {
  absl::MutexLock lock(&mutex_);
  std::string how =
      WIFSIGNALED(wait_status_)
          ? absl::StrCat("was killed by signal ", WTERMSIG(wait_status_), " (",
                         strsignal(WTERMSIG(wait_status_)), ")")
          : absl::StrCat("exited with status ", WEXITSTATUS(wait_status_));
  return last_line_.empty() ? how : absl::StrCat(how, ": ", last_line_);
}

void ChildProcess::Signal(int signal) {
  absl::MutexLock lock(&mutex_);
  if (!exited_) kill(pid_, signal);
}

}  // namespace drover
