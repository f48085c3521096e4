#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/cuda/memory.h"
#include "model/cuda/nccl_group.h"
#include "model/kernels/cuda/all_reduce.h"
#include "model/kernels/cuda/all_reduce_norm.h"
#include "sharding/ranks/collective.h"

namespace drover::cuda {

// Ranks, each on a device, adding up what these computed: through memory that
// they show each other, or by NCCL where they cannot, as on several hosts.
// Every rank makes the same calls in the same order; all enqueue. A rank that
// is lost leaves the others' devices waiting, until their processes end.
class DeviceCollective {
 public:
  // Where a rank puts its part of a sum: [max_tokens, hidden_size] each.
  // One sum's may be written again once the next one's has ended, so sums in a
  // row take different ones.
  enum Buffer : int32_t { kEmbedding, kAttention, kMlp };
  static constexpr int32_t kNumBuffers = 3;

  struct Options {
    int64_t max_tokens = 0;  // of a sum
    int64_t hidden_size = 0;
    int64_t element_bytes = 0;
    // Sums of more bytes are NCCL's; unset: what is faster.
    std::optional<int64_t> nccl_above_bytes;
    bool shares_memory = true;  // false, for tests: as between hosts
    bool shares_gpu = false;    // some ranks have the same one
  };

  // All ranks of `group` join at the same time, each with its device current.
  // Maps the memory that they show each other, if all can. FAILED_PRECONDITION
  // or UNIMPLEMENTED where NCCL is needed and is not there.
  static absl::StatusOr<std::unique_ptr<DeviceCollective>> Join(
      std::shared_ptr<Collective> group, const Options& options);
  ~DeviceCollective();
  DeviceCollective(const DeviceCollective&) = delete;
  DeviceCollective& operator=(const DeviceCollective&) = delete;

  // For what hosts agree on.
  Collective& group() const { return *group_; }

  void* part(Buffer buffer) const;

  // Whether all sums are in reach of kernels that send rows by themselves.
  bool shares_memory() const { return shares_memory_; }
  // Why not, as far as this rank knows.
  const absl::Status& why_not_shared() const { return why_not_shared_; }

  // For such kernels.
  kernels::cuda::RowGroup row_group() const;

  // The sum of all ranks' part(buffer) into the residual stream; args.group and
  // x are filled in. May be captured.
  template <typename T>
  absl::Status AllReduceNorm(kernels::cuda::AllReduceNormArgs<T> args,
                             Buffer buffer, cudaStream_t stream) const;

  // args.group is filled in. May be captured.
  absl::Status AllGatherColumns(kernels::cuda::AllGatherColumnsArgs args,
                                cudaStream_t stream) const;

  // ---- Sums in pieces, beside what the devices compute ----
  //
  // Not to be captured. A rank sends a piece of its part as soon as it has it,
  // by the devices' copy engines, and goes on; when it needs the sum, the
  // other's piece has come.
  static constexpr int32_t kNumPieces = 2;

  // Between two ranks only: more would send their parts too often.
  bool sends_pieces() const { return !copies_.empty(); }

  // Rows [first_row, first_row + num_rows) of part(buffer), not kEmbedding.
  absl::Status SendPiece(Buffer buffer, int32_t piece, int64_t first_row,
                         int64_t num_rows, cudaStream_t stream);

  // AllReduceNorm of the rows at first_row that SendPiece was given; args as if
  // there were no others.
  template <typename T>
  absl::Status AllReduceNormPiece(kernels::cuda::AllReduceNormArgs<T> args,
                                  Buffer buffer, int32_t piece,
                                  int64_t first_row, cudaStream_t stream);

 private:
  // How often a piece has been sent and awaited.
  struct PieceCalls {
    uint32_t sent = 0;
    uint32_t awaited = 0;
  };

  DeviceCollective(std::shared_ptr<Collective> group, const Options& options);

  absl::Status MapRegions(const Options& options);
  absl::Status StartCopies();
  bool CanSignal() const;
  absl::Status JoinNccl(const Options& options);
  absl::Status GatherByNccl(const kernels::cuda::AllGatherColumnsArgs& args,
                            cudaStream_t stream) const;
  unsigned char* At(int32_t rank, size_t offset) const;
  void* Part(int32_t rank, Buffer buffer) const;
  // Where `rank` finds what the other sent.
  void* Received(int32_t rank, Buffer buffer) const;
  uint32_t* Flag(int32_t rank, Buffer buffer, int32_t piece,
                 int32_t copy) const;
  PieceCalls& Calls(Buffer buffer, int32_t piece) {
    return piece_calls_[static_cast<size_t>(buffer)]
                       [static_cast<size_t>(piece)];
  }
  int32_t peer() const { return 1 - group_->rank(); }

  const std::shared_ptr<Collective> group_;
  int64_t nccl_above_bytes_ = 0;
  const size_t row_bytes_;
  // What lies in each rank's region, one after the other: what the kernels
  // need, flags, parts and what was received.
  const size_t gather_bytes_;
  const size_t norm_bytes_;
  const size_t part_bytes_;
  DeviceMemory region_;  // this rank's
  kernels::cuda::RankRegions regions_ = {};
  std::vector<void*> mapped_;  // of other processes
  bool shares_memory_ = false;
  absl::Status why_not_shared_;
  std::unique_ptr<NcclGroup> nccl_;  // null: no sum is so large

  // One copy engine alone does not fill the link.
  static constexpr int32_t kNumCopies = 4;
  std::vector<cudaStream_t> copies_;  // none: pieces are not sent
  cudaEvent_t computed_ = nullptr;
  std::array<std::array<PieceCalls, kNumPieces>, kNumBuffers> piece_calls_ = {};
};

}  // namespace drover::cuda
