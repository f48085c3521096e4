#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "sharding/hosts/rank_exchange.h"
#include "sharding/ranks/collective.h"

namespace drover {

// Ranks on several hosts, each connected with each. A little data, or that of
// two ranks, goes to everybody, and all add up all of it: one trip. Of more,
// each rank gets its share of everybody's, adds that up and sends the sum to
// all: two trips, and as many bytes as a ring would move.
//
// Errors name the rank that is lost, late, or of another opinion
// (RankExchange).
class TcpCollective final : public Collective {
 public:
  // Data of more bytes goes by shares, if there are more than two ranks.
  static constexpr size_t kMaxBytesToAll = size_t{32} << 10;

  // `sockets`: from ConnectRanks. A rank from which nothing comes for longer
  // than `patience` is given up with DEADLINE_EXCEEDED.
  TcpCollective(int32_t rank, std::vector<std::unique_ptr<RankSocket>> sockets,
                absl::Duration patience)
      : exchange_(rank, std::move(sockets)), patience_(patience) {}

  // Between calls.
  void set_patience(absl::Duration patience) { patience_ = patience; }

  int32_t rank() const override { return exchange_.rank(); }
  int32_t world_size() const override { return exchange_.world_size(); }
  // Each has a host of its own, or a limit on its memory.
  int32_t num_local_ranks() const override { return 1; }

  absl::Status AllReduceSum(absl::Span<float> data) override;
  absl::Status AllReduceSum(absl::Span<kernels::BFloat16> data) override;
  absl::StatusOr<int64_t> AllReduceMin(int64_t value) override;
  void Abort() override { exchange_.Abort(); }

 private:
  template <typename T>
  absl::Status Sum(absl::Span<T> data);
  template <typename T>
  absl::Status SumAtAll(absl::Span<T> data);
  template <typename T>
  absl::Status SumByShares(absl::Span<T> data);

  // own = the sum, in the order of ranks, of it and what the others sent.
  template <typename T>
  void AddUp(absl::Span<T> own);
  template <typename F>
  void ForEachPeer(F f) const;

  RankExchange exchange_;
  absl::Duration patience_;
  std::vector<float> sums_;
};

}  // namespace drover
