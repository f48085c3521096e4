#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/bounded_queue.h"
#include "base/check.h"
#include "model/model_executor.h"
#include "scheduler/batch_plan.h"
#include "scheduler/executor.h"
#include "tests/model/test_executor.h"

namespace drover {

// Drives an executor by hand: plans are written out by the test, results are
// waited for.
class ExecutorHarness {
 public:
  explicit ExecutorHarness(const ModelExecutorOptions& options)
      : ExecutorHarness(ValueOrDie(CreateTestExecutor(options))) {}

  explicit ExecutorHarness(std::unique_ptr<Executor> executor)
      : executor_(std::move(executor)) {
    executor_->Start([this](absl::StatusOr<StepResult> result) {
      results_.Push(std::move(result));
    });
  }

  // Numbers the plan.
  void Submit(BatchPlan plan) {
    plan.step = ++step_;
    executor_->Submit(std::move(plan));
  }

  absl::StatusOr<StepResult> Await() {
    while (pending_.empty()) {
      pending_ = results_.PopAll();
    }
    absl::StatusOr<StepResult> result = std::move(pending_.front());
    pending_.erase(pending_.begin());
    return result;
  }

  absl::StatusOr<StepResult> TryRun(BatchPlan plan) {
    Submit(std::move(plan));
    return Await();
  }

  // A plan that must succeed.
  StepResult Run(BatchPlan plan) { return ValueOrDie(TryRun(std::move(plan))); }

  // Blocks nobody has, for `num_tokens`.
  std::vector<int32_t> NewBlocks(int32_t num_tokens) {
    std::vector<int32_t> blocks;
    for (int32_t i = 0; i < num_tokens; i += kBlockSize) {
      DROVER_CHECK(next_block_ < executor_->info().num_blocks);
      blocks.push_back(next_block_++);
    }
    return blocks;
  }

  // All blocks are free again.
  void ResetBlocks() { next_block_ = kScratchBlock + 1; }

  Executor& executor() { return *executor_; }

  template <typename T>
  static T ValueOrDie(absl::StatusOr<T> result) {
    if (!result.ok()) {
      CheckFailed(__FILE__, __LINE__, "ok", result.status().ToString());
    }
    return *std::move(result);
  }

 private:
  BoundedQueue<absl::StatusOr<StepResult>> results_{/*capacity=*/16};
  std::vector<absl::StatusOr<StepResult>> pending_;
  std::unique_ptr<Executor> executor_;  // ends before the queue does
  uint64_t step_ = 0;
  int32_t next_block_ = kScratchBlock + 1;
};

// The repository; programs that were carried elsewhere are told where it is.
inline std::string SourceDir() {
  const char* const elsewhere = std::getenv("DROVER_TEST_SOURCE_DIR");
  return elsewhere != nullptr ? elsewhere : DROVER_SOURCE_DIR;
}

inline std::string FixtureModel(const std::string& name) {
  return SourceDir() + "/tests/testdata/hf-models/" + name;
}

// A model's, as part of a test's.
inline std::string TestName(std::string model) {
  std::replace(model.begin(), model.end(), '-', '_');
  return model;
}

inline std::string DemoModel() { return SourceDir() + "/models/fables-7m"; }

// A small executor for tests.
inline ModelExecutorOptions TestOptions(const std::string& model_dir,
                                        DType dtype = DType::kFloat32) {
  return {.model_dir = model_dir,
          .dtype = dtype,
          .kv_cache_bytes = 32 << 20,
          .num_slots = 16,
          .max_step_tokens = 512,
          .max_sequence_length = 512,
          .num_threads = 2};
}

// Ids below `end`, which most fixtures' vocabularies have.
inline std::vector<int32_t> RandomIds(int32_t count, uint32_t seed,
                                      uint32_t end = 320) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<int32_t>(random() % end));
  }
  return ids;
}

// Admits `ids` (at most 32) to slot 0 and prefills them.
inline BatchPlan OneSequence(std::vector<int32_t> ids) {
  BatchPlan plan;
  const auto num_ids = static_cast<int32_t>(ids.size());
  plan.admissions.push_back(
      {.slot = {.slot = 0, .generation = 1}, .token_ids = std::move(ids)});
  plan.work.push_back({.slot = 0, .num_tokens = num_ids, .new_blocks = {1, 2}});
  return plan;
}

// Greedy, reporting the chosen token's score.
inline SamplingParams GreedyWithScores(int32_t top_n = 0) {
  return {.greedy = true, .token_scores = true, .top_n = top_n};
}

}  // namespace drover
