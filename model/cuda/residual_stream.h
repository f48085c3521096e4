#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "model/cuda/device_collective.h"
#include "model/cuda/matmul.h"
#include "model/cuda/memory.h"
#include "model/kernels/cuda/all_reduce_norm.h"
#include "model/kernels/cuda/gemv.h"
#include "model/kernels/cuda/skinny_gemm.h"

namespace drover::cuda {

// The residual stream of a step on the device, and what products add to it: at
// once; or in parts that the next norm adds; or, with several ranks, as sums
// that the next norm adds up over all of them.
// One thread enqueues; nothing is allocated.
template <typename T>
class ResidualStream {
 public:
  using Sum = DeviceCollective::Buffer;

  // collective: null if there is one rank; else it outlives this object.
  ResidualStream(int64_t hidden_size, float epsilon,
                 DeviceCollective* collective);

  // Its memory, for up to `max_rows`.
  void Take(Arena& arena, int64_t max_rows);

  // Nothing is open; rows() is the same at every step's begin.
  void Begin();

  T* rows() const { return rows_; }      // [num_rows, hidden_size]
  T* normed() const { return normed_; }  // [num_rows, hidden_size]
  bool is_divided() const { return collective_ != nullptr; }

  // ---- What a product adds ----

  // Where to, what is added to it, and how a matrix product does both.
  T* output(Sum sum) const {
    return is_divided() ? static_cast<T*>(collective_->part(sum)) : rows_;
  }
  T* addend() const { return is_divided() ? nullptr : rows_; }
  MatmulOutput mode() const {
    return is_divided() ? MatmulOutput::kStore : MatmulOutput::kAdd;
  }
  // A product of `sum` has written output(sum).
  void NoteOutput(Sum sum) {
    if (is_divided()) open_ = sum;
  }
  // Or, of one rank, has left partials() instead: [num_partials, num_rows,
  // hidden_size], of up to kMaxMidTokens rows.
  float* partials() const { return partials_; }
  void NotePartials(int32_t num_partials) { num_partials_ = num_partials; }
  // Or, of one rank's few rows, is a SkinnyGemm `args`, which leaves the stream
  // complete and its rows for the next one to norm. weight: of that norm.
  kernels::cuda::SkinnyGemmArgs<T> AddIn(kernels::cuda::SkinnyGemmArgs<T> args,
                                         const void* weight);
  // Keeps of rows() only those of `ids`, which are on the device. Complete; and
  // normed() is lost.
  void Keep(const int32_t* ids, int32_t num_rows, cudaStream_t stream);

  // Nothing is left to be added to rows().
  bool is_complete() const { return !open_.has_value() && num_partials_ == 0; }

  // ---- Norms, which complete it ----

  // The last product was AddIn()'s; the next one is NormIn()'s.
  bool is_weighted() const { return is_weighted_; }
  // `args` with the stream, normed, for its input.
  kernels::cuda::SkinnyGemmArgs<T> NormIn(
      kernels::cuda::SkinnyGemmArgs<T> args);

  // To normed(). Without a weight the stream is completed only; partials need
  // one.
  absl::Status Norm(const void* weight, int32_t num_rows, cudaStream_t stream);

  // Of an embedding's parts, the stream's beginning: no weight.
  absl::Status BeginWith(Sum sum, int32_t num_rows, cudaStream_t stream);

  // Whether a Gemv of one row can do it, the sum over ranks included; then the
  // Gemv before it, of what is added, begins that.
  bool can_join() const { return can_join_; }
  void set_can_join(bool can_join) { can_join_ = can_join; }
  kernels::cuda::RowGroup row_group() const;
  // `args` with the stream for its input; rows() is the completed stream then.
  kernels::cuda::GemvArgs<T> JoinIn(kernels::cuda::GemvArgs<T> args);

  // ---- Pieces, between two ranks: see DeviceCollective ----

  struct Piece {
    int32_t index = 0;
    int32_t begin = 0;
    int32_t end = 0;

    int32_t size() const { return end - begin; }
  };

  bool sends_pieces() const {
    return is_divided() && collective_->sends_pieces();
  }
  absl::Status Send(Sum sum, const Piece& piece, cudaStream_t stream);
  // weight: null, or of the norm, to normed().
  absl::Status Receive(Sum sum, const Piece& piece, const void* weight,
                       cudaStream_t stream);

 private:
  kernels::cuda::AllReduceNormArgs<T> SumArgs(const void* weight,
                                              int32_t num_rows) const;

  const int64_t hidden_size_;
  const float epsilon_;
  DeviceCollective* const collective_;

  T* rows_ = nullptr;
  // [1, hidden_size]: a Gemv that adds a sum to the one writes the other. Which
  // is which depends on the shape of the step alone.
  T* other_ = nullptr;
  T* places_[2] = {};
  T* normed_ = nullptr;
  T* normed_place_ = nullptr;
  float* partials_ = nullptr;
  int32_t num_partials_ = 0;  // that the next norm adds
  float* squares_ = nullptr;  // of weighted rows, which are in normed_
  int32_t num_squares_ = 0;   // parts of each row's
  bool is_weighted_ = false;
  std::optional<Sum> open_;  // of ranks
  bool can_join_ = false;
};

}  // namespace drover::cuda
