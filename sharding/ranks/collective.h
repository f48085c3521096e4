#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/kernels/bfloat16.h"

namespace drover {

// What the ranks of a group do together. Every rank calls the same functions
// with as much data, in the same order, from one thread; all get the same bits.
// After an error the group is of no use any more.
class Collective {
 public:
  virtual ~Collective() = default;

  virtual int32_t rank() const = 0;
  virtual int32_t world_size() const = 0;
  // Those that run on this machine and share its memory, this one included.
  virtual int32_t num_local_ranks() const = 0;

  // data = the sum of all ranks' data: in float32, in the order of ranks.
  virtual absl::Status AllReduceSum(absl::Span<float> data) = 0;
  virtual absl::Status AllReduceSum(absl::Span<kernels::BFloat16> data) = 0;

  // The least of all ranks' values.
  virtual absl::StatusOr<int64_t> AllReduceMin(int64_t value) = 0;

  // Any thread: all ranks' calls, waiting or to come, fail with ABORTED.
  virtual void Abort() = 0;
};

}  // namespace drover
