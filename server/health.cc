#include "server/health.h"

#include <utility>

namespace drover {

void Health::MarkReady(std::function<bool()> engine_is_live) {
  absl::MutexLock lock(&mutex_);
  if (state_ != State::kStarting) return;
  state_ = State::kReady;
  engine_is_live_ = std::move(engine_is_live);
}

void Health::MarkDraining() {
  absl::MutexLock lock(&mutex_);
  if (state_ != State::kFailed) state_ = State::kDraining;
}

void Health::MarkFailed() {
  absl::MutexLock lock(&mutex_);
  state_ = State::kFailed;
}

void Health::StopProbing() {
  absl::MutexLock lock(&mutex_);
  engine_is_live_ = nullptr;
}

Health::State Health::state() const {
  absl::MutexLock lock(&mutex_);
  return state_;
}

bool Health::IsLive() const {
  absl::MutexLock lock(&mutex_);
  return state_ != State::kFailed && ProbeEngine();
}

bool Health::IsReady() const {
  absl::MutexLock lock(&mutex_);
  return state_ == State::kReady && ProbeEngine();
}

std::string_view Health::Describe() const {
  absl::MutexLock lock(&mutex_);
  switch (state_) {
    case State::kStarting:
      return "starting";
    case State::kReady:
      return ProbeEngine() ? "ready" : "stalled";
    case State::kDraining:
      return "draining";
    case State::kFailed:
      return "failed";
  }
  return "unknown";
}

bool Health::ProbeEngine() const {
  return engine_is_live_ == nullptr || engine_is_live_();
}

}  // namespace drover
