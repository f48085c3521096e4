#pragma once

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace drover {

// Bounds the inputs being worked on at once. A call takes as many permits as it
// has inputs, all or none, without waiting, and holds them until its end.
// Thread-safe; outlives its permits.
class Admission {
 public:
  // The permits of one call; gives them back when it ends. Movable.
  class Permits {
   public:
    Permits() = default;
    Permits(Permits&& other) noexcept
        : admission_(std::exchange(other.admission_, nullptr)),
          num_inputs_(other.num_inputs_) {}
    Permits& operator=(Permits&& other) noexcept {
      if (this == &other) return *this;
      Release();
      admission_ = std::exchange(other.admission_, nullptr);
      num_inputs_ = other.num_inputs_;
      return *this;
    }
    ~Permits() { Release(); }

    // Idempotent.
    void Release();

   private:
    friend class Admission;
    Permits(Admission* admission, int num_inputs)
        : admission_(admission), num_inputs_(num_inputs) {}

    Admission* admission_ = nullptr;
    int num_inputs_ = 0;
  };

  explicit Admission(int max_inputs) : max_inputs_(max_inputs) {}

  // RESOURCE_EXHAUSTED "Model is overloaded"; for more inputs than there are
  // permits at all it says so, since trying again cannot help. UNAVAILABLE once
  // closed.
  absl::StatusOr<Permits> Acquire(int num_inputs);

  // Admits nobody any more. What was admitted stays so.
  void Close();

  // Inputs that hold a permit.
  int num_admitted() const;
  // Waits until there are none; false if `timeout` passed first.
  bool WaitUntilIdle(absl::Duration timeout) const;

 private:
  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return num_admitted_ == 0;
  }

  const int max_inputs_;
  mutable absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  int num_admitted_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace drover
