#pragma once

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "model/weight_files.h"
#include "sharding/ranks/partition.h"

namespace drover {

// The pages of the mapped `files` in which there is anything of `parts`, in the
// order of their addresses; those that touch are one range. A part that is some
// columns counts from its first byte to its last: what lies between its rows
// shares their pages. `files` have all tensors of `parts`, in their shapes.
std::vector<absl::Span<const std::byte>> PagesOfParts(
    const WeightFiles& files, absl::Span<const TensorSlice> parts,
    size_t page_bytes);

// Asks the kernel to read these ahead, in the background, and no other rank's.
void Prefetch(const WeightFiles& files, absl::Span<const TensorSlice> parts);

}  // namespace drover
