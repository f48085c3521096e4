#include "server/admission.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace drover {

absl::StatusOr<Admission::Permits> Admission::Acquire(int num_inputs) {
  absl::MutexLock lock(&mutex_);
  if (closed_) return absl::UnavailableError("the server is shutting down");
  if (num_inputs > max_inputs_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("Model is overloaded: a call with ", num_inputs,
                     " inputs can never be served, the limit is ", max_inputs_,
                     " (max_concurrent_requests)"));
  }
  if (num_admitted_ + num_inputs > max_inputs_) {
    return absl::ResourceExhaustedError("Model is overloaded");
  }
  num_admitted_ += num_inputs;
  return Permits(this, num_inputs);
}

void Admission::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

int Admission::num_admitted() const {
  absl::MutexLock lock(&mutex_);
  return num_admitted_;
}

bool Admission::WaitUntilIdle(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(this, &Admission::IsIdle),
                                 timeout);
}

void Admission::Permits::Release() {
  if (admission_ == nullptr) return;
  absl::MutexLock lock(&admission_->mutex_);
  admission_->num_admitted_ -= num_inputs_;
  DROVER_CHECK(admission_->num_admitted_ >= 0);
  admission_ = nullptr;
}

}  // namespace drover
