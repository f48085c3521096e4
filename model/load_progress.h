#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "absl/time/time.h"

namespace drover {

// How far start-up is.
struct LoadProgress {
  std::string_view stage;  // "weights", then "warm-up"
  int64_t done_bytes = 0;
  int64_t total_bytes = 0;  // 0: this stage counts nothing
};
// Called on the loading thread, about once per layer.
using LoadProgressCallback = std::function<void(const LoadProgress&)>;

// What was loaded.
struct LoadSummary {
  int64_t num_parameters = 0;
  int64_t num_bytes = 0;  // of the parameters, in the dtype of execution
  // Of the weights' files, what this rank read; 0: random weights.
  int64_t read_bytes = 0;
  absl::Duration elapsed;
};

}  // namespace drover
