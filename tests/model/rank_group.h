#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "model/model_executor.h"
#include "sharding/ranks/partition.h"
#include "sharding/ranks/shared_memory_collective.h"
#include "tests/testing/shared_region.h"

namespace drover::testing {

// Gives every rank the same plans and answers with the first one's results,
// which are everybody's.
class RankGroup : public Executor {
 public:
  // Makes one rank's executor, in a thread of its own, of options that have its
  // collective.
  using CreateRank = std::function<absl::StatusOr<std::unique_ptr<Executor>>(
      const ModelExecutorOptions& options)>;

  // ends_plans: whether ranks that are stopped end the plans that others wait
  // with; where they do not, as on GPUs, Stop first waits for all answers.
  static absl::StatusOr<std::unique_ptr<Executor>> Create(
      const ModelExecutorOptions& options, int32_t world_size, bool ends_plans,
      const CreateRank& create_rank) {
    std::unique_ptr<RankGroup> group(new RankGroup(world_size, ends_plans));
    std::vector<absl::Status> statuses(static_cast<size_t>(world_size));
    std::vector<std::thread> threads;
    for (int32_t rank = 0; rank < world_size; ++rank) {
      threads.emplace_back([&, rank] {
        const auto index = static_cast<size_t>(rank);
        ModelExecutorOptions own = options;
        own.collective = std::make_shared<SharedMemoryCollective>(
            group->region_.data(), rank, world_size, absl::Minutes(5));
        auto executor = create_rank(own);
        statuses[index] = executor.status();
        if (executor.ok()) {
          group->ranks_[index] = *std::move(executor);
        } else {
          own.collective->Abort();
        }
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
    {
      const std::lock_guard lock(mutex_);
      ++num_open_;
    }
    for (const auto& rank : ranks_) rank->Submit(plan);
  }

  void Stop() override {
    if (!ends_plans_) {
      std::unique_lock lock(mutex_);
      answered_.wait(lock, [this] { return num_open_ == 0 || is_lost_; });
    }
    for (const auto& rank : ranks_) rank->Stop();
  }

 private:
  RankGroup(int32_t world_size, bool ends_plans)
      : ends_plans_(ends_plans),
        region_(SharedMemoryCollective::RegionBytes(world_size)),
        ranks_(static_cast<size_t>(world_size)),
        results_(static_cast<size_t>(world_size)) {}

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
    --num_open_;
    is_lost_ = is_lost_ || !first.ok();
    answered_.notify_all();
    on_result_(std::move(first));
  }

  const bool ends_plans_;
  const SharedRegion region_;
  std::vector<std::unique_ptr<Executor>> ranks_;
  std::mutex mutex_;
  std::condition_variable answered_;
  int64_t num_open_ = 0;
  bool is_lost_ = false;
  std::vector<std::deque<absl::StatusOr<StepResult>>> results_;
  ResultCallback on_result_;
};

inline void SkipTest(const absl::Status& why) { GTEST_SKIP() << why.message(); }

// `wanted`, or 1 where the model cannot be divided so: then the test counts as
// skipped, and does not run if its executor is made before it.
inline absl::StatusOr<int32_t> NumRanks(const ModelExecutorOptions& options,
                                        int32_t wanted) {
  ModelConfig config;
  if (options.dummy.has_value()) {
    config = *options.dummy;
  } else {
    DROVER_ASSIGN_OR_RETURN(config, LoadModelConfig(options.model_dir));
  }
  const absl::Status divided = PartitionModel(config, 0, wanted).status();
  if (divided.ok()) return wanted;
  SkipTest(divided);
  return 1;
}

}  // namespace drover::testing
