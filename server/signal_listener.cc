#include "server/signal_listener.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "base/check.h"

namespace drover {
namespace {

sigset_t EndSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

int MakeSignalFd() {
  const sigset_t signals = EndSignals();
  return signalfd(-1, &signals, SFD_CLOEXEC);
}

}  // namespace

void SignalListener::BlockSignals() {
  const sigset_t signals = EndSignals();
  DROVER_CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
}

SignalListener::SignalListener(std::function<void(int)> on_signal)
    : on_signal_(std::move(on_signal)),
      signal_fd_(MakeSignalFd()),
      stop_fd_(eventfd(0, EFD_CLOEXEC)) {
  DROVER_CHECK(signal_fd_ >= 0 && stop_fd_ >= 0, "no descriptor for signals");
  thread_ = std::thread([this] { Listen(); });
}

SignalListener::~SignalListener() {
  const uint64_t one = 1;
  DROVER_CHECK(write(stop_fd_, &one, sizeof(one)) == sizeof(one));
  thread_.join();
  close(signal_fd_);
  close(stop_fd_);
}

void SignalListener::Listen() {
  while (true) {
    std::array<pollfd, 2> ready = {pollfd{signal_fd_, POLLIN, 0},
                                   pollfd{stop_fd_, POLLIN, 0}};
    if (poll(ready.data(), ready.size(), /*timeout=*/-1) < 0) continue;
    if (ready[1].revents != 0) return;
    signalfd_siginfo info = {};
    if (read(signal_fd_, &info, sizeof(info)) != sizeof(info)) continue;
    on_signal_(static_cast<int>(info.ssi_signo));
  }
}

}  // namespace drover
