#include "model/kernels/cpu/scratch.h"

#include <cstdlib>
#include <memory>

#include "base/check.h"

namespace drover::kernels {
namespace {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

constexpr size_t kAlignment = 64;

}  // namespace

void* ThreadScratch(size_t bytes) {
  thread_local std::unique_ptr<void, Free> memory;
  thread_local size_t capacity = 0;
  if (bytes > capacity) {
    memory.reset();
    capacity = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    memory.reset(std::aligned_alloc(kAlignment, capacity));
    DROVER_CHECK(memory != nullptr, "no memory for a kernel's scratch");
  }
  return memory.get();
}

}  // namespace drover::kernels
