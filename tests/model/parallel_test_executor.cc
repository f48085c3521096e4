// The goldens and equivalences once more, with several ranks that run the model
// together: threads of this process, DROVER_TEST_RANKS of them or, where the
// model cannot be divided so, fewer.

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "model/model_executor.h"
#include "sharding/ranks/partition.h"
#include "sharding/ranks/shared_memory_collective.h"
#include "tests/model/test_executor.h"
#include "tests/testing/shared_region.h"

namespace drover {
namespace {

using testing::SharedRegion;

// Gives every rank the same plans and answers with the first one's results,
// which are everybody's.
class RankGroup : public Executor {
 public:
  static absl::StatusOr<std::unique_ptr<Executor>> Create(
      const ModelExecutorOptions& options, int32_t world_size) {
    std::unique_ptr<RankGroup> group(new RankGroup(world_size));
    std::vector<absl::Status> statuses(static_cast<size_t>(world_size));
    std::vector<std::thread> threads;
    for (int32_t rank = 0; rank < world_size; ++rank) {
      threads.emplace_back([&, rank] {
        const auto index = static_cast<size_t>(rank);
        auto executor = group->CreateRank(options, rank, world_size);
        statuses[index] = executor.status();
        if (executor.ok()) group->ranks_[index] = *std::move(executor);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const absl::Status& status : statuses) {
      DROVER_RETURN_IF_ERROR(status);
    }
    return group;
  }

  const ExecutorInfo& info() const override { return ranks_[0]->info(); }

  void Start(ResultCallback on_result) override {
    on_result_ = std::move(on_result);
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      ranks_[rank]->Start([this, rank](absl::StatusOr<StepResult> result) {
        Collect(rank, std::move(result));
      });
    }
  }

  void Submit(BatchPlan plan) override {
    for (const auto& rank : ranks_) rank->Submit(plan);
  }

  void Stop() override {
    for (const auto& rank : ranks_) rank->Stop();
  }

 private:
  explicit RankGroup(int32_t world_size)
      : region_(SharedMemoryCollective::RegionBytes(world_size)),
        ranks_(static_cast<size_t>(world_size)),
        results_(static_cast<size_t>(world_size)) {}

  absl::StatusOr<std::unique_ptr<ModelExecutor>> CreateRank(
      ModelExecutorOptions options, int32_t rank, int32_t world_size) {
    options.num_threads = 1;
    options.collective = std::make_shared<SharedMemoryCollective>(
        region_.data(), rank, world_size, absl::Minutes(5));
    auto executor = ModelExecutor::Create(options, nullptr);
    if (!executor.ok()) options.collective->Abort();
    return executor;
  }

  void Collect(size_t rank, absl::StatusOr<StepResult> result) {
    const std::lock_guard lock(mutex_);
    results_[rank].push_back(std::move(result));
    for (const auto& results : results_) {
      if (results.empty()) return;
    }
    absl::StatusOr<StepResult> first = std::move(results_[0].front());
    for (auto& results : results_) {
      if (&results != &results_[0]) {
        EXPECT_EQ(results.front().ok(), first.ok());
        if (first.ok() && results.front().ok()) {
          EXPECT_EQ(results.front()->sequences, first->sequences);
        }
      }
      results.pop_front();
    }
    on_result_(std::move(first));
  }

  const SharedRegion region_;
  std::vector<std::unique_ptr<ModelExecutor>> ranks_;
  std::mutex mutex_;
  std::vector<std::deque<absl::StatusOr<StepResult>>> results_;
  ResultCallback on_result_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Executor>> CreateTestExecutor(
    const ModelExecutorOptions& options) {
  ModelConfig config;
  if (options.dummy.has_value()) {
    config = *options.dummy;
  } else {
    DROVER_ASSIGN_OR_RETURN(config, LoadModelConfig(options.model_dir));
  }
  int32_t world_size = DROVER_TEST_RANKS;
  while (!PartitionModel(config, 0, world_size).ok()) world_size /= 2;
  return RankGroup::Create(options, world_size);
}

}  // namespace drover
