#include "sharding/hosts/tcp_collective.h"

#include <algorithm>
#include <cstring>

#include "absl/types/span.h"
#include "base/status_macros.h"

namespace drover {
namespace {

using kernels::BFloat16;

// How much is on its way to or from a rank at once.
constexpr size_t kPieceBytes = size_t{1} << 20;

constexpr MessageKind KindOf(const float*) { return MessageKind::kFloat32; }
constexpr MessageKind KindOf(const BFloat16*) { return MessageKind::kBFloat16; }

void Store(float value, float& out) { out = value; }
void Store(float value, BFloat16& out) { out = kernels::ToBFloat16(value); }

template <typename T>
constexpr size_t BytesOf(absl::Span<T> data) {
  return data.size() * sizeof(T);
}

}  // namespace

template <typename F>
void TcpCollective::ForEachPeer(F f) const {
  for (int32_t peer = 0; peer < world_size(); ++peer) {
    if (peer != rank()) f(peer);
  }
}

template <typename T>
void TcpCollective::AddUp(absl::Span<T> own) {
  const auto of_rank = [&](int32_t peer) {
    return peer == rank() ? own.data()
                          : reinterpret_cast<const T*>(exchange_.Got(peer));
  };
  sums_.resize(own.size());
  const T* const first = of_rank(0);
  for (size_t i = 0; i < own.size(); ++i) sums_[i] = kernels::ToFloat(first[i]);
  for (int32_t peer = 1; peer < world_size(); ++peer) {
    const T* const data = of_rank(peer);
    for (size_t i = 0; i < own.size(); ++i) {
      sums_[i] += kernels::ToFloat(data[i]);
    }
  }
  for (size_t i = 0; i < own.size(); ++i) Store(sums_[i], own[i]);
}

template <typename T>
absl::Status TcpCollective::SumAtAll(absl::Span<T> data) {
  ForEachPeer([&](int32_t peer) {
    std::memcpy(exchange_.Put(peer, BytesOf(data)), data.data(), BytesOf(data));
    exchange_.Expect(peer, BytesOf(data));
  });
  DROVER_RETURN_IF_ERROR(exchange_.Exchange(KindOf(data.data()), patience_));
  AddUp(data);
  return absl::OkStatus();
}

template <typename T>
absl::Status TcpCollective::SumByShares(absl::Span<T> data) {
  const auto share_of = [&](int32_t peer) {
    const auto bound = [&](int32_t rank) {
      return data.size() * static_cast<size_t>(rank) /
             static_cast<size_t>(world_size());
    };
    return data.subspan(bound(peer), bound(peer + 1) - bound(peer));
  };
  const absl::Span<T> mine = share_of(rank());
  ForEachPeer([&](int32_t peer) {
    const absl::Span<T> theirs = share_of(peer);
    std::memcpy(exchange_.Put(peer, BytesOf(theirs)), theirs.data(),
                BytesOf(theirs));
    exchange_.Expect(peer, BytesOf(mine));
  });
  DROVER_RETURN_IF_ERROR(exchange_.Exchange(KindOf(data.data()), patience_));
  AddUp(mine);
  ForEachPeer([&](int32_t peer) {
    std::memcpy(exchange_.Put(peer, BytesOf(mine)), mine.data(), BytesOf(mine));
    exchange_.Expect(peer, BytesOf(share_of(peer)));
  });
  DROVER_RETURN_IF_ERROR(exchange_.Exchange(KindOf(data.data()), patience_));
  ForEachPeer([&](int32_t peer) {
    const absl::Span<T> theirs = share_of(peer);
    std::memcpy(theirs.data(), exchange_.Got(peer), BytesOf(theirs));
  });
  return absl::OkStatus();
}

template <typename T>
absl::Status TcpCollective::Sum(absl::Span<T> data) {
  constexpr size_t kMostAtOnce = kPieceBytes / sizeof(T);
  for (size_t begin = 0; begin < data.size(); begin += kMostAtOnce) {
    const absl::Span<T> piece = data.subspan(begin, kMostAtOnce);
    const bool to_all = world_size() <= 2 || BytesOf(piece) <= kMaxBytesToAll;
    DROVER_RETURN_IF_ERROR(to_all ? SumAtAll(piece) : SumByShares(piece));
  }
  return absl::OkStatus();
}

absl::Status TcpCollective::AllReduceSum(absl::Span<float> data) {
  return Sum(data);
}

absl::Status TcpCollective::AllReduceSum(absl::Span<BFloat16> data) {
  return Sum(data);
}

absl::StatusOr<int64_t> TcpCollective::AllReduceMin(int64_t value) {
  ForEachPeer([&](int32_t peer) {
    std::memcpy(exchange_.Put(peer, sizeof(value)), &value, sizeof(value));
    exchange_.Expect(peer, sizeof(value));
  });
  DROVER_RETURN_IF_ERROR(exchange_.Exchange(MessageKind::kInt64, patience_));
  ForEachPeer([&](int32_t peer) {
    int64_t other = 0;
    std::memcpy(&other, exchange_.Got(peer), sizeof(other));
    value = std::min(value, other);
  });
  return value;
}

}  // namespace drover
