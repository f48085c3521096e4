#include "server/worker_pool.h"

#include <atomic>

#include "absl/synchronization/barrier.h"
#include "gtest/gtest.h"

namespace drover {
namespace {

TEST(WorkerPool, WorkRunsOnAsManyThreadsAsThereAre) {
  auto* meeting = new absl::Barrier(3);
  WorkerPool pool(3);
  for (int i = 0; i < 3; ++i) {
    // Nobody gets past the barrier unless all three are there at once.
    pool.Run([meeting] {
      if (meeting->Block()) delete meeting;
    });
  }
}

TEST(WorkerPool, WhatIsWaitingIsDoneBeforeItEnds) {
  std::atomic<int> num_done{0};
  {
    WorkerPool pool(2);
    for (int i = 0; i < 100; ++i) pool.Run([&] { ++num_done; });
  }
  EXPECT_EQ(num_done, 100);
}

}  // namespace
}  // namespace drover
