#pragma once

#include <functional>
#include <thread>

namespace drover {

// Turns SIGTERM and SIGINT into calls on an ordinary thread, where everything
// is allowed.
class SignalListener {
 public:
  // Blocks both signals in the calling thread, so that threads it starts later
  // inherit that. To be called by main before any thread is started.
  static void BlockSignals();

  // `on_signal(number)` runs on the listener's thread, once per signal.
  explicit SignalListener(std::function<void(int)> on_signal);
  // No call comes after this.
  ~SignalListener();

  SignalListener(const SignalListener&) = delete;
  SignalListener& operator=(const SignalListener&) = delete;

 private:
  void Listen();

  const std::function<void(int)> on_signal_;
  const int signal_fd_;
  const int stop_fd_;
  std::thread thread_;
};

}  // namespace drover
