#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/cuda/memory.h"
#include "model/kernels/cuda/all_reduce.h"
#include "model/kernels/cuda/all_reduce_norm.h"
#include "sharding/ranks/collective.h"

namespace drover::cuda {

// The ranks of one host, each on a device, adding up what these computed. Every
// rank makes the same calls in the same order; all enqueue and may be captured.
// A rank that is lost leaves the others' devices waiting, until their processes
// end.
class DeviceCollective {
 public:
  // All ranks of `group` join at the same time, each with its device current.
  // Maps the memory that they show each other, for up to `max_tokens` rows of
  // `hidden_size` elements of `element_bytes`.
  static absl::StatusOr<std::unique_ptr<DeviceCollective>> Join(
      std::shared_ptr<Collective> group, int64_t max_tokens,
      int64_t hidden_size, int64_t element_bytes);
  ~DeviceCollective();
  DeviceCollective(const DeviceCollective&) = delete;
  DeviceCollective& operator=(const DeviceCollective&) = delete;

  // For what hosts agree on.
  Collective& group() const { return *group_; }

  // Where a rank puts its part of a sum: [max_tokens, hidden_size]. A call's
  // buffer may be written again once another's call has ended.
  static constexpr int32_t kNumPartBuffers = 3;
  void* part(int32_t buffer) const;

  // args.regions, rank, world_size and x are filled in: part(buffer) of each
  // rank.
  template <typename T>
  void AllReduceNorm(kernels::cuda::AllReduceNormArgs<T> args, int32_t buffer,
                     cudaStream_t stream) const;

  // args.group is filled in.
  void AllGatherColumns(kernels::cuda::AllGatherColumnsArgs args,
                        cudaStream_t stream) const;

 private:
  explicit DeviceCollective(std::shared_ptr<Collective> group)
      : group_(std::move(group)) {}

  absl::Status MapRegions();
  void* RegionPart(int32_t rank, int32_t buffer) const;

  const std::shared_ptr<Collective> group_;
  // In each rank's region, one after the other: what the kernels need, and the
  // buffers.
  size_t gather_bytes_ = 0;
  size_t norm_bytes_ = 0;
  size_t part_bytes_ = 0;
  DeviceMemory region_;  // this rank's
  kernels::cuda::RankRegions regions_ = {};
  std::vector<void*> mapped_;  // of other processes
};

}  // namespace drover::cuda
