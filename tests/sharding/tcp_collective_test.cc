#include "sharding/hosts/tcp_collective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "sharding/ranks/shared_memory_collective.h"
#include "tests/sharding/rank_group.h"
#include "tests/testing/shared_region.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using kernels::BFloat16;
using ::testing::_;
using ::testing::HasSubstr;
using testing::RankGroup;
using testing::SharedRegion;

// Nothing; less than a share for each; either side of what goes to all; whole
// and broken pieces.
constexpr size_t kSizes[] = {0,    1,    2,    3,      1000,
                             8191, 8192, 8193, 100003, 600001};

float MakeValue(std::mt19937& random, const float*) {
  return std::normal_distribution<float>(0.0f, 100.0f)(random);
}
BFloat16 MakeValue(std::mt19937& random, const BFloat16*) {
  return kernels::ToBFloat16(MakeValue(random, static_cast<float*>(nullptr)));
}

// What `rank` brings to the sum number `call`.
template <typename T>
std::vector<T> MakeData(size_t size, int32_t rank, size_t call) {
  std::mt19937 random(static_cast<uint32_t>(rank * 1000 + call));
  std::vector<T> data(size);
  for (T& value : data) value = MakeValue(random, data.data());
  return data;
}

class TcpCollectiveTest : public ::testing::TestWithParam<int32_t> {
 protected:
  // Over TCP, every rank gets the bits that ranks of one host would get.
  template <typename T>
  void ExpectTheBitsOfSharedMemory() {
    const int32_t world_size = GetParam();
    RankGroup group(world_size);
    const SharedRegion region(SharedMemoryCollective::RegionBytes(world_size));
    group.OnRanks([&](TcpCollective& tcp) {
      SharedMemoryCollective reference(region.data(), tcp.rank(), world_size,
                                       absl::Minutes(5));
      for (size_t call = 0; call < std::size(kSizes); ++call) {
        auto data = MakeData<T>(kSizes[call], tcp.rank(), call);
        auto expected = data;
        ASSERT_THAT(tcp.AllReduceSum(absl::MakeSpan(data)), IsOk());
        ASSERT_THAT(reference.AllReduceSum(absl::MakeSpan(expected)), IsOk());
        if (data.empty()) continue;
        ASSERT_EQ(
            std::memcmp(data.data(), expected.data(), data.size() * sizeof(T)),
            0)
            << kSizes[call] << " values";
      }
    });
  }
};

TEST_P(TcpCollectiveTest, AddsFloatsAsRanksOfOneHostDo) {
  ExpectTheBitsOfSharedMemory<float>();
}

TEST_P(TcpCollectiveTest, AddsBFloat16AsRanksOfOneHostDo) {
  ExpectTheBitsOfSharedMemory<BFloat16>();
}

// So that each plans with all the memory of its machine.
TEST_P(TcpCollectiveTest, OnlyRanksOfOneHostShareItsMemory) {
  const int32_t world_size = GetParam();
  RankGroup group(world_size);
  const SharedRegion region(SharedMemoryCollective::RegionBytes(world_size));
  group.OnRanks([&](TcpCollective& tcp) {
    const SharedMemoryCollective shared(region.data(), tcp.rank(), world_size,
                                        absl::Minutes(5));
    EXPECT_EQ(tcp.num_local_ranks(), 1);
    EXPECT_EQ(shared.num_local_ranks(), world_size);
  });
}

TEST_P(TcpCollectiveTest, FindsTheLeast) {
  RankGroup group(GetParam());
  group.OnRanks([&](TcpCollective& collective) {
    for (int64_t round = 0; round < 100; ++round) {
      const int64_t mine = (collective.rank() * 7 + round) % 5 - 2;
      int64_t expected = mine;
      for (int32_t rank = 0; rank < GetParam(); ++rank) {
        expected = std::min(expected, (rank * 7 + round) % 5 - 2);
      }
      const absl::StatusOr<int64_t> least = collective.AllReduceMin(mine);
      ASSERT_THAT(least, IsOk());
      ASSERT_EQ(*least, expected);
    }
  });
}

TEST_P(TcpCollectiveTest, AnyRankThatIsLostIsNamedByAllOthers) {
  for (int32_t lost = 0; lost < GetParam(); ++lost) {
    RankGroup group(GetParam());
    group.OnThreads([&](int32_t rank) {
      const auto place = static_cast<size_t>(rank);
      if (rank == lost) return group.Lose(place);
      std::vector<float> data(100000, 1.0f);
      EXPECT_THAT(
          group.rank(place).AllReduceSum(absl::MakeSpan(data)),
          StatusIs(absl::StatusCode::kAborted, HasSubstr(" lost rank ")));
    });
  }
}

TEST_P(TcpCollectiveTest, AbortEndsWhoWaitsAndWhoComesLater) {
  RankGroup group(GetParam());
  group.OnThreads([&](int32_t rank) {
    TcpCollective& collective = group.rank(static_cast<size_t>(rank));
    if (rank == GetParam() - 1) collective.Abort();
    for (int time = 0; time < 2; ++time) {
      EXPECT_THAT(collective.AllReduceMin(1),
                  StatusIs(absl::StatusCode::kAborted, _));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(WorldSizes, TcpCollectiveTest,
                         ::testing::Values(2, 3, 4, 5));

TEST(TcpCollectiveGroupTest, OneRankAloneHasNobodyToAsk) {
  RankGroup group(1);
  std::vector<float> data = {1.5f, -2.0f};
  EXPECT_THAT(group.rank(0).AllReduceSum(absl::MakeSpan(data)), IsOk());
  EXPECT_EQ(data, (std::vector<float>{1.5f, -2.0f}));
  EXPECT_EQ(*group.rank(0).AllReduceMin(7), 7);
}

// Waiting in one thread, ended by another.
TEST(TcpCollectiveGroupTest, AbortEndsAWaitOfItsOwnRank) {
  RankGroup group(2);
  absl::StatusOr<int64_t> result = 0;
  std::thread waiting([&] { result = group.rank(0).AllReduceMin(1); });
  group.rank(0).Abort();
  waiting.join();
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kAborted,
                               "the group of ranks was ended"));
}

TEST(TcpCollectiveGroupTest, ARankThatSaysNothingIsGivenUpByName) {
  RankGroup group(3, /*patience=*/absl::Milliseconds(1));
  EXPECT_THAT(group.rank(2).AllReduceMin(1),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       "rank 2 has waited 1ms for rank 0"));
}

TEST(TcpCollectiveGroupTest, RanksOfDifferentTypesAreToldSo) {
  RankGroup group(2);
  group.OnThreads([&](int32_t rank) {
    std::vector<float> floats(10);
    std::vector<BFloat16> halves(10);
    const absl::Status status =
        rank == 0 ? group.rank(0).AllReduceSum(absl::MakeSpan(floats))
                  : group.rank(1).AllReduceSum(absl::MakeSpan(halves));
    EXPECT_FALSE(status.ok());
    if (status.code() != absl::StatusCode::kInternal) return;  // the slower one
    const std::string said(status.message());
    EXPECT_THAT(said,
                HasSubstr(rank == 0 ? "40 of float32" : "20 of bfloat16"));
    EXPECT_THAT(said, HasSubstr(rank == 0 ? "20 bytes of bfloat16"
                                          : "40 bytes of float32"));
  });
}

}  // namespace
}  // namespace drover
