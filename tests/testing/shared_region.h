#pragma once

#include <sys/mman.h>

#include <cstddef>

#include "base/check.h"

namespace drover::testing {

// Zeroed memory that threads and forked processes share.
class SharedRegion {
 public:
  explicit SharedRegion(size_t size)
      : data_(mmap(nullptr, size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
        size_(size) {
    DROVER_CHECK(data_ != MAP_FAILED);
  }
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;
  ~SharedRegion() { munmap(data_, size_); }

  void* data() const { return data_; }

 private:
  void* const data_;
  const size_t size_;
};

}  // namespace drover::testing
