#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sharding/ranks/collective.h"

namespace drover::cuda {

// Sums over ranks by NCCL, which is loaded when the first rank joins: the
// library that LibTorch brings.
class NcclGroup {
 public:
  // All ranks of `group` join at the same time, each with its device current.
  // UNIMPLEMENTED: this program was built without NCCL. FAILED_PRECONDITION: it
  // is not to be found here. The same on all ranks.
  static absl::StatusOr<std::unique_ptr<NcclGroup>> Join(Collective& group);
  virtual ~NcclGroup() = default;

  // data = the sum of all ranks' data; all get the same bits. T: float, Float16
  // or BFloat16. Enqueues, and may be captured.
  template <typename T>
  absl::Status AllReduceSum(T* data, int64_t count, cudaStream_t stream);

 private:
  virtual absl::Status Sum(void* data, int64_t count, int data_type,
                           cudaStream_t stream) = 0;
};

}  // namespace drover::cuda
