// Greedy choices from rows that take a thread block several rounds of loads.
// What else the sampler does, sampler_agreement_test.cc shows.

#include "model/kernels/cuda/sampling_kernels.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "scheduler/batch_plan.h"
#include "tests/model/cuda/device_array.h"

namespace drover::kernels::cuda {
namespace {

// Vocabularies of whole rounds, of parts, and one whose rows are not aligned.
class GreedySampleTest : public testing::TestWithParam<int32_t> {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
      GTEST_SKIP() << "there is no GPU to run on";
    }
  }

  std::vector<float> RandomRow() {
    std::normal_distribution<float> normal;
    std::vector<float> row(static_cast<size_t>(GetParam()));
    for (float& logit : row) logit = normal(random_);
    return row;
  }

  static SampledToken Sample(const std::vector<float>& row) {
    const DeviceArray<float> logits(row);
    const DeviceArray<int32_t> slots({0});
    const DeviceArray<SlotSampling> params({SlotSampling{}});
    const DeviceArray<int32_t> num_generated({0});
    const DeviceArray<int32_t> last_token({0});
    const DeviceArray<SampledToken> results({SampledToken{}});
    kernels::cuda::Sample({.logits = logits.get(),
                           .slots = slots.get(),
                           .state = {.params = params.get(),
                                     .num_generated = num_generated.get(),
                                     .last_token = last_token.get()},
                           .results = results.get(),
                           .num_rows = 1,
                           .vocab_size = GetParam()},
                          nullptr);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return results.Read().front();
  }

  std::mt19937 random_{11};
};

TEST_P(GreedySampleTest, TakesTheBestWhereverItIs) {
  const int32_t size = GetParam();
  for (const int32_t best :
       {0, 3, size / 3, size / 2 + 1, size - 4096, size - 2, size - 1}) {
    std::vector<float> row = RandomRow();
    row[best] = 100.0f;
    EXPECT_EQ(Sample(row).id, best);
  }
}

TEST_P(GreedySampleTest, TakesTheLowestOfEquals) {
  std::vector<float> row = RandomRow();
  // Of one thread, in one round and in the next; and of others.
  for (const int32_t id : {4098, 4099, 4102, 8194, 36866, GetParam() - 1}) {
    if (id < GetParam()) row[id] = 100.0f;
  }
  EXPECT_EQ(Sample(row).id, 4098);
}

TEST_P(GreedySampleTest, TakesWhatIsLeftOfARow) {
  std::vector<float> row(static_cast<size_t>(GetParam()), -INFINITY);
  row[GetParam() - 2] = -1e30f;
  EXPECT_EQ(Sample(row).id, GetParam() - 2);
}

TEST_P(GreedySampleTest, RefusesWhatIsNotFinite) {
  for (const float bad : {NAN, INFINITY}) {
    std::vector<float> row = RandomRow();
    row.back() = bad;
    EXPECT_EQ(Sample(row).status,
              static_cast<int32_t>(SequenceStatus::kNonFiniteLogits));
  }
  EXPECT_EQ(Sample(std::vector<float>(GetParam(), -INFINITY)).status,
            static_cast<int32_t>(SequenceStatus::kNonFiniteLogits));
}

INSTANTIATE_TEST_SUITE_P(Sizes, GreedySampleTest,
                         testing::Values(32768, 40004, 128256, 40003));

}  // namespace
}  // namespace drover::kernels::cuda
