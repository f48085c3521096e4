#include "model/cuda/residual_stream.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "model/kernels/cuda/cuda_kernels.h"
#include "model/kernels/cuda/mid_gemm.h"

namespace drover::cuda {

using kernels::cuda::AllReduceNormArgs;
using kernels::cuda::GemvArgs;
using kernels::cuda::GemvInput;
using kernels::cuda::SkinnyGemmArgs;

template <typename T>
ResidualStream<T>::ResidualStream(int64_t hidden_size, float epsilon,
                                  DeviceCollective* collective)
    : hidden_size_(hidden_size), epsilon_(epsilon), collective_(collective) {}

template <typename T>
void ResidualStream<T>::Take(Arena& arena, int64_t max_rows) {
  places_[0] = arena.Take<T>(max_rows * hidden_size_);
  places_[1] = arena.Take<T>(is_divided() ? hidden_size_ : 0);
  normed_place_ = arena.Take<T>(max_rows * hidden_size_);
  const int64_t partial_rows =
      is_divided()
          ? 0
          : kernels::cuda::kMaxMidPartials *
                std::min<int64_t>(kernels::cuda::kMaxMidTokens, max_rows);
  partials_ = arena.Take<float>(partial_rows * hidden_size_);
  num_squares_ = kernels::cuda::NumSquares(static_cast<int32_t>(hidden_size_));
  squares_ = arena.Take<float>(kernels::cuda::kMaxSkinnyTokens * num_squares_);
  Begin();
}

template <typename T>
void ResidualStream<T>::Begin() {
  rows_ = places_[0];
  other_ = places_[1];
  normed_ = normed_place_;
  num_partials_ = 0;
  is_weighted_ = false;
  open_.reset();
}

template <typename T>
SkinnyGemmArgs<T> ResidualStream<T>::AddIn(SkinnyGemmArgs<T> args,
                                           const void* weight) {
  DROVER_CHECK(!is_divided() && is_complete() && !is_weighted_);
  args.residual = rows_;
  args.out = rows_;
  args.norm_weight = static_cast<const T*>(weight);
  args.weighted = normed_;
  args.squares = squares_;
  is_weighted_ = true;
  return args;
}

template <typename T>
SkinnyGemmArgs<T> ResidualStream<T>::NormIn(SkinnyGemmArgs<T> args) {
  DROVER_CHECK(std::exchange(is_weighted_, false));
  args.x = normed_;
  args.x_squares = squares_;
  args.num_x_squares = num_squares_;
  args.epsilon = epsilon_;
  return args;
}

template <typename T>
void ResidualStream<T>::Keep(const int32_t* ids, int32_t num_rows,
                             cudaStream_t stream) {
  DROVER_CHECK(is_complete() && !is_weighted_);
  kernels::cuda::GatherRows<T>({.table = rows_,
                                .ids = ids,
                                .out = normed_,
                                .num_rows = num_rows,
                                .row_size = hidden_size_},
                               stream);
  std::swap(rows_, normed_);
}

template <typename T>
absl::Status ResidualStream<T>::Norm(const void* weight, int32_t num_rows,
                                     cudaStream_t stream) {
  DROVER_CHECK(!is_weighted_);
  if (open_.has_value()) {
    return collective_->AllReduceNorm(SumArgs(weight, num_rows),
                                      *std::exchange(open_, {}), stream);
  }
  if (weight == nullptr) {
    DROVER_CHECK(num_partials_ == 0);
    return absl::OkStatus();
  }
  if (num_partials_ > 0) {
    kernels::cuda::JoinRmsNorm<T>(
        {.residual = rows_,
         .partials = partials_,
         .weight = static_cast<const T*>(weight),
         .out = normed_,
         .num_partials = std::exchange(num_partials_, 0),
         .num_tokens = num_rows,
         .hidden_size = hidden_size_,
         .epsilon = epsilon_},
        stream);
    return absl::OkStatus();
  }
  kernels::cuda::RmsNorm<T>({.x = rows_,
                             .weight = static_cast<const T*>(weight),
                             .out = normed_,
                             .num_tokens = num_rows,
                             .hidden_size = hidden_size_,
                             .epsilon = epsilon_},
                            stream);
  return absl::OkStatus();
}

template <typename T>
absl::Status ResidualStream<T>::BeginWith(Sum sum, int32_t num_rows,
                                          cudaStream_t stream) {
  if (!is_divided()) return absl::OkStatus();
  AllReduceNormArgs<T> args = SumArgs(/*weight=*/nullptr, num_rows);
  args.adds_residual = false;
  return collective_->AllReduceNorm(args, sum, stream);
}

template <typename T>
kernels::cuda::RowGroup ResidualStream<T>::row_group() const {
  return is_divided() ? collective_->row_group() : kernels::cuda::RowGroup();
}

template <typename T>
GemvArgs<T> ResidualStream<T>::JoinIn(GemvArgs<T> args) {
  DROVER_CHECK(can_join_ && open_.has_value());
  args.x = output(*open_);
  args.input = GemvInput::kAllReduceNorm;
  args.epsilon = epsilon_;
  args.ranks = row_group();
  args.residual_in = rows_;
  args.residual_sum = other_;
  std::swap(rows_, other_);
  open_.reset();
  return args;
}

template <typename T>
absl::Status ResidualStream<T>::Send(Sum sum, const Piece& piece,
                                     cudaStream_t stream) {
  return collective_->SendPiece(sum, piece.index, piece.begin, piece.size(),
                                stream);
}

template <typename T>
absl::Status ResidualStream<T>::Receive(Sum sum, const Piece& piece,
                                        const void* weight,
                                        cudaStream_t stream) {
  AllReduceNormArgs<T> args = SumArgs(weight, piece.size());
  args.residual += piece.begin * hidden_size_;
  args.out += piece.begin * hidden_size_;
  return collective_->AllReduceNormPiece(args, sum, piece.index, piece.begin,
                                         stream);
}

template <typename T>
AllReduceNormArgs<T> ResidualStream<T>::SumArgs(const void* weight,
                                                int32_t num_rows) const {
  return {.residual = rows_,
          .weight = static_cast<const T*>(weight),
          .out = normed_,
          .num_tokens = num_rows,
          .hidden_size = hidden_size_,
          .epsilon = epsilon_};
}

template class ResidualStream<float>;
template class ResidualStream<kernels::Float16>;
template class ResidualStream<kernels::BFloat16>;

}  // namespace drover::cuda
