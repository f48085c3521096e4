#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "sharding/ranks/collective.h"

namespace drover::cuda {

// What every rank has, by rank. All call it. T: plain bytes.
template <typename T>
absl::StatusOr<std::vector<T>> ExchangeBytes(Collective& group, const T& own) {
  static_assert(std::is_trivially_copyable_v<T>);
  // A sum in which each rank has zeros but for its own.
  const auto world_size = static_cast<size_t>(group.world_size());
  std::vector<float> numbers(world_size * sizeof(T));
  unsigned char bytes[sizeof(T)];
  std::memcpy(bytes, &own, sizeof(T));
  std::copy_n(bytes, sizeof(T),
              numbers.begin() + group.rank() * std::ptrdiff_t{sizeof(T)});
  DROVER_RETURN_IF_ERROR(group.AllReduceSum(absl::MakeSpan(numbers)));
  std::vector<T> all(world_size);
  for (size_t rank = 0; rank < world_size; ++rank) {
    const float* const from = &numbers[rank * sizeof(T)];
    std::transform(from, from + sizeof(T), bytes, [](float number) {
      return static_cast<unsigned char>(number);
    });
    std::memcpy(&all[rank], bytes, sizeof(T));
  }
  return all;
}

}  // namespace drover::cuda
