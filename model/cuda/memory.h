#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"

namespace drover::cuda {

struct DeviceDeleter {
  void operator()(void* pointer) const;
};
struct PinnedDeleter {
  void operator()(void* pointer) const;
};

// Owned memory of the device, or of the host and page-locked.
using DeviceMemory = std::unique_ptr<void, DeviceDeleter>;
using PinnedMemory = std::unique_ptr<void, PinnedDeleter>;

// `what` names the memory in the error. No bytes: null.
absl::StatusOr<DeviceMemory> AllocateDevice(int64_t bytes,
                                            std::string_view what);
absl::StatusOr<PinnedMemory> AllocatePinned(int64_t bytes,
                                            std::string_view what);

// Places arrays one after the other, each aligned for any kernel. Used twice:
// without memory it only counts, with memory it hands out pointers.
class Arena {
 public:
  Arena() = default;
  explicit Arena(void* base) : base_(static_cast<std::byte*>(base)) {}

  template <typename T>
  T* Take(int64_t count) {
    return static_cast<T*>(TakeBytes(count * int64_t{sizeof(T)}));
  }

  void* TakeBytes(int64_t bytes) {
    void* pointer = base_ == nullptr ? nullptr : base_ + used_bytes_;
    used_bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return pointer;
  }

  int64_t used_bytes() const { return used_bytes_; }

 private:
  static constexpr int64_t kAlignment = 256;

  std::byte* base_ = nullptr;
  int64_t used_bytes_ = 0;
};

}  // namespace drover::cuda
