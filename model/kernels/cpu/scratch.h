#pragma once

#include <cstddef>

namespace drover::kernels {

// At least `bytes` of memory, aligned to 64, that belongs to the calling thread
// until it asks again. Grows and is kept, so that steps do not allocate once
// the largest was seen.
void* ThreadScratch(size_t bytes);

}  // namespace drover::kernels
