#include "sharding/ranks/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace drover {
namespace {

constexpr int kLowestFd = 16;

absl::Status SystemError(const char* call) {
  return absl::InternalError(
      absl::StrCat("shared memory: ", call, ": ", std::strerror(errno)));
}

void* MapShared(int fd, size_t size) {
  return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SharedMemory>> SharedMemory::Create(
    size_t size) {
  const int first_fd = memfd_create("drover-ranks", MFD_CLOEXEC);
  if (first_fd < 0) return SystemError("memfd_create");
  const absl::Cleanup close_first = [first_fd] { close(first_fd); };
  if (ftruncate(first_fd, static_cast<off_t>(size)) != 0) {
    return SystemError("ftruncate");
  }
  const int fd = fcntl(first_fd, F_DUPFD_CLOEXEC, kLowestFd);
  if (fd < 0) return SystemError("fcntl");
  void* const data = MapShared(fd, size);
  if (data == MAP_FAILED) {
    const absl::Status status = SystemError("mmap");
    close(fd);
    return status;
  }
  return std::unique_ptr<SharedMemory>(
      new SharedMemory(data, size, fd, /*owns_fd=*/true));
}

absl::StatusOr<std::unique_ptr<SharedMemory>> SharedMemory::Map(int fd,
                                                                size_t size) {
  void* const data = MapShared(fd, size);
  if (data == MAP_FAILED) return SystemError("mmap");
  return std::unique_ptr<SharedMemory>(
      new SharedMemory(data, size, fd, /*owns_fd=*/false));
}

SharedMemory::~SharedMemory() {
  munmap(data_, size_);
  if (owns_fd_) close(fd_);
}

}  // namespace drover
