#include "sharding/ranks/shared_memory_collective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>
#include <vector>

#include "tests/testing/shared_region.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using kernels::BFloat16;
using ::testing::_;
using ::testing::Each;
using testing::SharedRegion;

constexpr absl::Duration kLong = absl::Minutes(5);

// Runs what each rank does on a thread of its own.
void OnRanks(int32_t world_size,
             const std::function<void(SharedMemoryCollective&)>& run) {
  const SharedRegion region(SharedMemoryCollective::RegionBytes(world_size));
  std::vector<std::thread> threads;
  for (int32_t rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      SharedMemoryCollective collective(region.data(), rank, world_size, kLong);
      run(collective);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

class SharedMemoryCollectiveTest : public ::testing::TestWithParam<int32_t> {};

TEST_P(SharedMemoryCollectiveTest, SumsWhatAllHave) {
  const int32_t world_size = GetParam();
  OnRanks(world_size, [&](SharedMemoryCollective& collective) {
    // Nothing, less than a share for each, several pieces.
    for (const size_t size : {0, 1, 3, 1000, 600000}) {
      std::vector<float> data(size);
      std::vector<float> expected(size);
      for (size_t i = 0; i < size; ++i) {
        const auto place = static_cast<float>(i % 1000);
        data[i] = place * static_cast<float>(collective.rank() + 1);
        expected[i] =
            place * static_cast<float>(world_size * (world_size + 1) / 2);
      }
      ASSERT_THAT(collective.AllReduceSum(absl::MakeSpan(data)), IsOk());
      ASSERT_EQ(data, expected);
    }
  });
}

TEST_P(SharedMemoryCollectiveTest, AddsBFloat16InFloat) {
  OnRanks(GetParam(), [&](SharedMemoryCollective& collective) {
    // In bfloat16 alone, 256 + 1 would stay 256.
    std::vector<BFloat16> data(
        100, kernels::ToBFloat16(collective.rank() == 0 ? 256.0f : 1.0f));
    ASSERT_THAT(collective.AllReduceSum(absl::MakeSpan(data)), IsOk());
    EXPECT_THAT(
        data,
        Each(kernels::ToBFloat16(256.0f + static_cast<float>(GetParam() - 1))));
  });
}

TEST_P(SharedMemoryCollectiveTest, FindsTheLeast) {
  OnRanks(GetParam(), [&](SharedMemoryCollective& collective) {
    for (int64_t round = 0; round < 100; ++round) {
      const int64_t mine = (collective.rank() * 7 + round) % 5;
      int64_t expected = mine;
      for (int32_t rank = 0; rank < GetParam(); ++rank) {
        expected = std::min(expected, (rank * 7 + round) % 5);
      }
      const absl::StatusOr<int64_t> least = collective.AllReduceMin(mine);
      ASSERT_THAT(least, IsOk());
      ASSERT_EQ(*least, expected);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(WorldSizes, SharedMemoryCollectiveTest,
                         ::testing::Values(1, 2, 3, 8));

TEST(SharedMemoryCollectiveGroupTest, WorksBetweenProcesses) {
  const SharedRegion region(SharedMemoryCollective::RegionBytes(2));
  const auto run = [&](int32_t rank) {
    SharedMemoryCollective collective(region.data(), rank, 2, kLong);
    std::vector<float> data(1000, static_cast<float>(rank + 1));
    for (int i = 0; i < 10; ++i) {
      if (!collective.AllReduceSum(absl::MakeSpan(data)).ok()) return false;
    }
    return data[999] == 3.0f * 512.0f;
  };
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(run(1) ? 0 : 1);
  EXPECT_TRUE(run(0));
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(SharedMemoryCollectiveGroupTest, AbortEndsWhoWaitsAndWhoComesLater) {
  const SharedRegion region(SharedMemoryCollective::RegionBytes(2));
  SharedMemoryCollective waiting(region.data(), 0, 2, kLong);
  SharedMemoryCollective other(region.data(), 1, 2, kLong);
  absl::StatusOr<int64_t> result = 0;
  std::thread thread([&] { result = waiting.AllReduceMin(1); });
  other.Abort();
  thread.join();
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kAborted, _));
  EXPECT_THAT(other.AllReduceMin(1), StatusIs(absl::StatusCode::kAborted, _));
}

TEST(SharedMemoryCollectiveGroupTest, ARankThatNeverComesIsGivenUp) {
  const SharedRegion region(SharedMemoryCollective::RegionBytes(2));
  SharedMemoryCollective alone(region.data(), 0, 2, absl::Milliseconds(1));
  EXPECT_THAT(alone.AllReduceMin(1),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       ::testing::HasSubstr("rank 0")));
}

}  // namespace
}  // namespace drover
