#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "sharding/ranks/collective.h"

namespace drover {

// Ranks on one host, processes or threads, through memory that all of them have
// mapped. A piece at a time, each rank copies its data there, adds up its share
// of everybody's, and copies the whole sum back. Ranks wait by spinning for
// some microseconds, then in the kernel.
class SharedMemoryCollective : public Collective {
 public:
  // How large the memory must be.
  static size_t RegionBytes(int32_t world_size);

  // `region`: RegionBytes(world_size), zero before the first rank comes,
  // aligned to a page; outlives this object. A rank that waits for another for
  // longer than `patience` gives up with DEADLINE_EXCEEDED.
  SharedMemoryCollective(void* region, int32_t rank, int32_t world_size,
                         absl::Duration patience);

  // Between calls.
  void set_patience(absl::Duration patience) { patience_ = patience; }

  int32_t rank() const override { return rank_; }
  int32_t world_size() const override { return world_size_; }
  int32_t num_local_ranks() const override { return world_size_; }

  absl::Status AllReduceSum(absl::Span<float> data) override;
  absl::Status AllReduceSum(absl::Span<kernels::BFloat16> data) override;
  absl::StatusOr<int64_t> AllReduceMin(int64_t value) override;
  void Abort() override;

 private:
  struct Header;

  template <typename T>
  absl::Status Sum(absl::Span<T> data);
  // Until all ranks are here; what they wrote before is seen after.
  absl::Status Barrier();

  std::byte* Slot(int32_t rank) const;
  std::byte* Result() const { return Slot(world_size_); }

  Header* const header_;
  const int32_t rank_;
  const int32_t world_size_;
  absl::Duration patience_;
};

}  // namespace drover
