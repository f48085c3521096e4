#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"

namespace drover {

// Memory of one size that processes share by a descriptor; without a name, so
// that nothing is left when all of them have gone.
class SharedMemory {
 public:
  // New and zero. The descriptor is closed in programs that are executed and
  // is above the ones that these use.
  static absl::StatusOr<std::unique_ptr<SharedMemory>> Create(size_t size);
  // What Create made elsewhere: maps `fd`, which stays open.
  static absl::StatusOr<std::unique_ptr<SharedMemory>> Map(int fd, size_t size);
  ~SharedMemory();

  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void* data() const { return data_; }
  int fd() const { return fd_; }

 private:
  SharedMemory(void* data, size_t size, int fd, bool owns_fd)
      : data_(data), size_(size), fd_(fd), owns_fd_(owns_fd) {}

  void* const data_;
  const size_t size_;
  const int fd_;
  const bool owns_fd_;
};

}  // namespace drover
