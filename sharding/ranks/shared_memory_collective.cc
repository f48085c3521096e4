#include "sharding/ranks/shared_memory_collective.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <ctime>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace drover {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kSlotBytes = size_t{1} << 20;
// The rest of a short step on another core. Who spins longer keeps that rank
// from running if it is on this one.
constexpr int kSpins = 400;
// How often a rank that sleeps looks at the clock.
constexpr absl::Duration kNap = absl::Milliseconds(100);

using FutexWord = std::atomic<uint32_t>;
static_assert(sizeof(FutexWord) == sizeof(uint32_t) &&
              FutexWord::is_always_lock_free);

// Across processes, unlike std::atomic::wait.
void Sleep(FutexWord& word, uint32_t while_it_is, absl::Duration time) {
  const timespec timeout = absl::ToTimespec(time);
  syscall(SYS_futex, &word, FUTEX_WAIT, while_it_is, &timeout, nullptr, 0);
}
void WakeAll(FutexWord& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, std::numeric_limits<int>::max(),
          nullptr, nullptr, 0);
}

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

float AsFloat(float value) { return value; }
float AsFloat(kernels::BFloat16 value) { return kernels::ToFloat(value); }
void Store(float value, float& out) { out = value; }
void Store(float value, kernels::BFloat16& out) {
  out = kernels::ToBFloat16(value);
}

}  // namespace

struct SharedMemoryCollective::Header {
  FutexWord num_arrived;
  alignas(64) FutexWord round;  // of the barrier
  alignas(64) FutexWord is_aborted;
};

size_t SharedMemoryCollective::RegionBytes(int32_t world_size) {
  return kPageBytes + (static_cast<size_t>(world_size) + 1) * kSlotBytes;
}

SharedMemoryCollective::SharedMemoryCollective(void* region, int32_t rank,
                                               int32_t world_size,
                                               absl::Duration patience)
    : header_(static_cast<Header*>(region)),
      rank_(rank),
      world_size_(world_size),
      patience_(patience) {
  static_assert(sizeof(Header) <= kPageBytes);
  DROVER_CHECK(rank >= 0 && rank < world_size);
}

std::byte* SharedMemoryCollective::Slot(int32_t rank) const {
  return reinterpret_cast<std::byte*>(header_) + kPageBytes +
         static_cast<size_t>(rank) * kSlotBytes;
}

absl::Status SharedMemoryCollective::Barrier() {
  const auto aborted = [&] {
    return header_->is_aborted.load(std::memory_order_acquire) != 0;
  };
  const uint32_t round = header_->round.load(std::memory_order_acquire);
  const uint32_t num_before =
      header_->num_arrived.fetch_add(1, std::memory_order_acq_rel);
  if (num_before + 1 == static_cast<uint32_t>(world_size_)) {
    header_->num_arrived.store(0, std::memory_order_relaxed);
    header_->round.store(round + 1, std::memory_order_release);
    WakeAll(header_->round);
    return aborted() ? absl::AbortedError("the group of ranks was ended")
                     : absl::OkStatus();
  }
  const auto is_over = [&] {
    return header_->round.load(std::memory_order_acquire) != round || aborted();
  };
  for (int i = 0; i < kSpins && !is_over(); ++i) Pause();
  const absl::Time deadline = absl::Now() + patience_;
  while (!is_over()) {
    Sleep(header_->round, round, kNap);
    if (absl::Now() >= deadline && !is_over()) {
      return absl::DeadlineExceededError(
          absl::StrCat("rank ", rank_, " has waited ",
                       absl::FormatDuration(patience_), " for other ranks"));
    }
  }
  return aborted() ? absl::AbortedError("the group of ranks was ended")
                   : absl::OkStatus();
}

void SharedMemoryCollective::Abort() {
  header_->is_aborted.store(1, std::memory_order_release);
  WakeAll(header_->round);
}

// A slot is written before the first barrier and read before the second; the
// result between the second and the next call's first.
template <typename T>
absl::Status SharedMemoryCollective::Sum(absl::Span<T> data) {
  constexpr size_t kMostAtOnce = kSlotBytes / sizeof(T);
  for (size_t begin = 0; begin < data.size(); begin += kMostAtOnce) {
    const absl::Span<T> piece = data.subspan(begin, kMostAtOnce);
    std::memcpy(Slot(rank_), piece.data(), piece.size() * sizeof(T));
    DROVER_RETURN_IF_ERROR(Barrier());
    const auto share = [&](int32_t rank) {
      return piece.size() * static_cast<size_t>(rank) /
             static_cast<size_t>(world_size_);
    };
    auto* const result = reinterpret_cast<T*>(Result());
    for (size_t i = share(rank_); i < share(rank_ + 1); ++i) {
      float sum = AsFloat(reinterpret_cast<const T*>(Slot(0))[i]);
      for (int32_t rank = 1; rank < world_size_; ++rank) {
        sum += AsFloat(reinterpret_cast<const T*>(Slot(rank))[i]);
      }
      Store(sum, result[i]);
    }
    DROVER_RETURN_IF_ERROR(Barrier());
    std::memcpy(piece.data(), result, piece.size() * sizeof(T));
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryCollective::AllReduceSum(absl::Span<float> data) {
  return Sum(data);
}

absl::Status SharedMemoryCollective::AllReduceSum(
    absl::Span<kernels::BFloat16> data) {
  return Sum(data);
}

absl::StatusOr<int64_t> SharedMemoryCollective::AllReduceMin(int64_t value) {
  std::memcpy(Slot(rank_), &value, sizeof(value));
  DROVER_RETURN_IF_ERROR(Barrier());
  int64_t least = value;
  for (int32_t rank = 0; rank < world_size_; ++rank) {
    int64_t other = 0;
    std::memcpy(&other, Slot(rank), sizeof(other));
    least = std::min(least, other);
  }
  DROVER_RETURN_IF_ERROR(Barrier());
  return least;
}

}  // namespace drover
