#include "base/bounded_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(BoundedQueueTest, PopAllTakesEverythingInOrder) {
  BoundedQueue<int> queue(/*capacity=*/4);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(queue.TryPush(int{i}));
  EXPECT_THAT(queue.PopAll(), ElementsAre(0, 1, 2));
  EXPECT_EQ(queue.size(), 0u);
}

TEST(BoundedQueueTest, AFullQueueRefusesAndLeavesTheValueAlone) {
  BoundedQueue<std::unique_ptr<int>> queue(/*capacity=*/1);
  ASSERT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  auto second = std::make_unique<int>(2);
  EXPECT_FALSE(queue.TryPush(std::move(second)));
  EXPECT_NE(second, nullptr);
  EXPECT_TRUE(queue.Push(std::move(second))) << "Push ignores the capacity";
}

TEST(BoundedQueueTest, AClosedQueueTakesNothingButCanBeEmptied) {
  BoundedQueue<int> queue(/*capacity=*/4);
  ASSERT_TRUE(queue.TryPush(7));
  queue.Close();
  EXPECT_FALSE(queue.TryPush(8));
  EXPECT_FALSE(queue.Push(8));
  EXPECT_THAT(queue.PopAll(), ElementsAre(7));
  EXPECT_THAT(queue.PopAll(), IsEmpty());
}

TEST(BoundedQueueTest, AWaitingConsumerIsWokenByAPushAndByClose) {
  BoundedQueue<int> queue(/*capacity=*/4);
  std::vector<int> taken;
  std::thread consumer([&] {
    while (true) {
      const std::vector<int> batch = queue.PopAll();
      if (batch.empty()) return;
      taken.insert(taken.end(), batch.begin(), batch.end());
    }
  });
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(queue.Push(int{i}));
  queue.Close();
  consumer.join();
  ASSERT_EQ(taken.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(taken[static_cast<size_t>(i)], i);
}

TEST(BoundedQueueTest, AnEmptyQueueTimesOut) {
  BoundedQueue<int> queue(/*capacity=*/4);
  EXPECT_THAT(queue.PopAll(absl::ZeroDuration()), IsEmpty());
}

}  // namespace
}  // namespace drover
