#pragma once

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "model/weight_files.h"
#include "sharding/ranks/partition.h"

namespace drover {

// The pages of the mapped `files` in which there is anything of `parts`, file
// by file in their order, which is the order of loading; those that touch are
// one range. A part that is some columns counts from its first byte to its
// last, with what others have of its rows: a range for each row would be too
// many. `files` have all tensors of `parts`, in their shapes.
std::vector<absl::Span<const std::byte>> PagesOfParts(
    const WeightFiles& files, absl::Span<const TensorSlice> parts,
    size_t page_bytes);

// Asks the kernel to read these ahead, in the background.
void Prefetch(const WeightFiles& files, absl::Span<const TensorSlice> parts);

}  // namespace drover
