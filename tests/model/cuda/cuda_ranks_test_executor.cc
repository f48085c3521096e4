// The goldens and equivalences once more, with two ranks that run the model
// together: threads of this process, each with a GPU of its own.

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "model/cuda/cuda_executor.h"
#include "tests/model/rank_group.h"
#include "tests/model/test_executor.h"

namespace drover {
namespace {

// A kernel that is loaded when it is first launched may wait for what its
// device does, with a lock on the whole process: while the other rank's thread
// is kept from launching what that device waits for. Processes of their own
// have no such lock.
[[maybe_unused]] const int kLoadsAllAtOnce =
    setenv("CUDA_MODULE_LOADING", "EAGER", /*overwrite=*/1);

class NeedsTwoGpus : public ::testing::Environment {
 public:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count < 2) {
      GTEST_SKIP() << "there are no two GPUs to run on";
    }
  }
};

const ::testing::Environment* const kNeedsTwoGpus =
    ::testing::AddGlobalTestEnvironment(new NeedsTwoGpus);

}  // namespace

absl::StatusOr<std::unique_ptr<Executor>> CreateTestExecutor(
    const ModelExecutorOptions& options) {
  DROVER_ASSIGN_OR_RETURN(const int32_t world_size,
                          testing::NumRanks(options, /*wanted=*/2));
  return testing::RankGroup::Create(
      options, world_size, /*ends_plans=*/false,
      [](const ModelExecutorOptions& own) {
        CudaExecutorOptions cuda_options;
        cuda_options.model = own;
        cuda_options.device = own.collective->rank();
        cuda_options.max_top_n = 4096;  // some tests ask for whole vocabularies
        return CudaExecutor::Create(cuda_options, nullptr);
      });
}

bool TestExecutorHasBFloat16() { return true; }

}  // namespace drover
