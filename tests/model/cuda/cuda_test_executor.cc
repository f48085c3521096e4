#include <gtest/gtest.h>

#include "model/cuda/cuda_executor.h"
#include "tests/model/test_executor.h"

namespace drover {
namespace {

// Skips every test of a program where there is nothing to run it on. On a GPU
// that cannot be used they fail, and say why.
class NeedsGpu : public testing::Environment {
 public:
  void SetUp() override {
    if (absl::IsNotFound(CudaDeviceStatus())) {
      GTEST_SKIP() << "there is no GPU to run on";
    }
  }
};

const testing::Environment* const kNeedsGpu =
    testing::AddGlobalTestEnvironment(new NeedsGpu);

}  // namespace

absl::StatusOr<std::unique_ptr<Executor>> CreateTestExecutor(
    const ModelExecutorOptions& options) {
  CudaExecutorOptions cuda_options;
  cuda_options.model = options;
  cuda_options.max_top_n = 4096;  // some tests ask for whole vocabularies
  return CudaExecutor::Create(cuda_options, nullptr);
}

bool TestExecutorHasBFloat16() { return true; }

}  // namespace drover
