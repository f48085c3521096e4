#pragma once

#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace drover {

// Many producers, one consumer, FIFO. Thread-safe.
//
// A closed queue takes nothing more; what it holds can still be popped.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

  // False, and `value` untouched, if the queue is full or closed.
  bool TryPush(T&& value) {
    absl::MutexLock lock(&mutex_);
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(value));
    return true;
  }

  // For the few messages that must not be lost and whose number something else
  // bounds: ignores the capacity. False only if the queue is closed.
  bool Push(T&& value) {
    absl::MutexLock lock(&mutex_);
    if (closed_) return false;
    items_.push_back(std::move(value));
    return true;
  }

  // Waits until there is something, the queue is closed, or `timeout` has
  // passed; then takes everything, in order. Empty after a time-out or once a
  // closed queue has been emptied.
  std::vector<T> PopAll(absl::Duration timeout = absl::InfiniteDuration()) {
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(
        absl::Condition(this, &BoundedQueue::HasItemsOrClosed), timeout);
    std::vector<T> taken(std::make_move_iterator(items_.begin()),
                         std::make_move_iterator(items_.end()));
    items_.clear();
    return taken;
  }

  void Close() {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }

  bool closed() const {
    absl::MutexLock lock(&mutex_);
    return closed_;
  }

  size_t size() const {
    absl::MutexLock lock(&mutex_);
    return items_.size();
  }

 private:
  bool HasItemsOrClosed() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return closed_ || !items_.empty();
  }

  const size_t capacity_;
  mutable absl::Mutex mutex_;
  std::deque<T> items_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace drover
