#include "model/weight_prefetch.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "base/check.h"

namespace drover {
namespace {

// Addresses [begin, end).
struct Range {
  uintptr_t begin = 0;
  uintptr_t end = 0;
};

Range RangeOf(const TensorView& view, const TensorSlice& part) {
  const MatrixSlice matrix(part);
  const int64_t first = matrix.Offset(0, 0);
  const int64_t last =
      matrix.Offset(matrix.rows.size - 1, matrix.columns.size - 1);
  const auto data = reinterpret_cast<uintptr_t>(view.bytes.data());
  const int64_t element = DTypeBytes(view.dtype);
  return {.begin = data + static_cast<uintptr_t>(first * element),
          .end = data + static_cast<uintptr_t>((last + 1) * element)};
}

Range WholePages(const Range& range, uintptr_t page_bytes) {
  return {.begin = range.begin / page_bytes * page_bytes,
          .end = (range.end + page_bytes - 1) / page_bytes * page_bytes};
}

// What the file has of `parts`, in the order of addresses.
std::vector<Range> RangesOf(const SafetensorsFile& file,
                            absl::Span<const TensorSlice> parts,
                            uintptr_t page_bytes) {
  std::vector<Range> ranges;
  for (const TensorSlice& part : parts) {
    const auto tensor = file.tensors().find(part.tensor.name);
    if (tensor == file.tensors().end() || part.num_elements() == 0) continue;
    const TensorView& view = tensor->second;
    DROVER_CHECK(view.shape == part.tensor.shape, "a tensor was not checked");
    ranges.push_back(WholePages(RangeOf(view, part), page_bytes));
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  return ranges;
}

// Those that touch become one.
std::vector<Range> Join(const std::vector<Range>& ranges) {
  std::vector<Range> joined;
  for (const Range& range : ranges) {
    if (joined.empty() || range.begin > joined.back().end) {
      joined.push_back(range);
    } else {
      joined.back().end = std::max(joined.back().end, range.end);
    }
  }
  return joined;
}

}  // namespace

std::vector<absl::Span<const std::byte>> PagesOfParts(
    const WeightFiles& files, absl::Span<const TensorSlice> parts,
    size_t page_bytes) {
  std::vector<absl::Span<const std::byte>> pages;
  for (const SafetensorsFile& file : files.files()) {
    for (const Range& range : Join(RangesOf(file, parts, page_bytes))) {
      pages.emplace_back(reinterpret_cast<const std::byte*>(range.begin),
                         range.end - range.begin);
    }
  }
  return pages;
}

void Prefetch(const WeightFiles& files, absl::Span<const TensorSlice> parts) {
  const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (const auto& pages : PagesOfParts(files, parts, page_bytes)) {
    // Advice only: whoever cannot follow it reads on demand.
    madvise(const_cast<std::byte*>(pages.data()), pages.size(), MADV_WILLNEED);
  }
}

}  // namespace drover
