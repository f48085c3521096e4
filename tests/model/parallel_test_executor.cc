// The goldens and equivalences once more, with DROVER_TEST_RANKS ranks that run
// the model together: threads of this process.

#include "model/executor_plan.h"
#include "model/model_executor.h"
#include "tests/model/rank_group.h"
#include "tests/model/test_executor.h"

namespace drover {

absl::StatusOr<std::unique_ptr<Executor>> CreateTestExecutor(
    const ModelExecutorOptions& options) {
  DROVER_ASSIGN_OR_RETURN(const int32_t world_size,
                          testing::NumRanks(options, DROVER_TEST_RANKS));
  return testing::RankGroup::Create(
      options, world_size, /*ends_plans=*/true, [](ModelExecutorOptions own) {
        own.num_threads = 1;
        return ModelExecutor::Create(own, nullptr);
      });
}

bool TestExecutorHasBFloat16() { return CpuHasBFloat16(); }

}  // namespace drover
