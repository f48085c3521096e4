// A rank's weights on the device against the same parts of a whole model's.

#include "model/cuda/device_weights.h"

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/cuda/weight_upload.h"
#include "model/model_config.h"
#include "sharding/ranks/partition.h"
#include "tests/model/executor_harness.h"
#include "tests/testing/status_matchers.h"

namespace drover::cuda {
namespace {

std::vector<uint32_t> Download(const WeightTarget& target) {
  std::vector<uint32_t> values(static_cast<size_t>(target.num_elements()));
  EXPECT_EQ(cudaMemcpy(values.data(), target.data, values.size() * 4,
                       cudaMemcpyDeviceToHost),
            cudaSuccess);
  return values;
}

class DeviceWeightsTest : public testing::Test {
 protected:
  // In float32; from the model's files, or dummies.
  void Load(const RankPartition& partition, bool is_dummy,
            DeviceWeights& weights) {
    absl::StatusOr<DeviceWeights> allocated =
        AllocateWeights(config_, partition, DType::kFloat32);
    ASSERT_THAT(allocated, IsOk());
    weights = *std::move(allocated);
    if (is_dummy) {
      ASSERT_THAT(GenerateWeights(weights), IsOk());
      return;
    }
    const auto read_bytes =
        UploadWeights(DemoModel(), config_, nullptr, weights);
    ASSERT_THAT(read_bytes, IsOk());
    int64_t num_elements = 0;
    for (const WeightTarget& target : weights.targets) {
      num_elements += target.num_elements();
    }
    EXPECT_EQ(*read_bytes, 2 * num_elements) << "of a file of bfloat16";
  }

  void ExpectPartsOfTheWhole(bool is_dummy) {
    DeviceWeights whole;
    Load(*PartitionModel(config_, 0, 1), is_dummy, whole);
    std::map<std::string, std::vector<uint32_t>> tensors;
    for (const WeightTarget& target : whole.targets) {
      tensors[target.slice.tensor.name] = Download(target);
    }
    constexpr int32_t kRanks = 2;
    for (int32_t rank = 0; rank < kRanks; ++rank) {
      DeviceWeights part;
      Load(*PartitionModel(config_, rank, kRanks), is_dummy, part);
      EXPECT_LT(part.num_bytes, whole.num_bytes * 2 / 3);
      for (const WeightTarget& target : part.targets) {
        ExpectPart(target, tensors.at(target.slice.tensor.name));
      }
    }
  }

  static void ExpectPart(const WeightTarget& target,
                         const std::vector<uint32_t>& whole) {
    const MatrixSlice part(target.slice);
    std::vector<uint32_t> expected;
    for (int64_t row = 0; row < part.rows.size; ++row) {
      for (int64_t column = 0; column < part.columns.size; ++column) {
        expected.push_back(
            whole[static_cast<size_t>(part.Offset(row, column))]);
      }
    }
    EXPECT_EQ(Download(target), expected) << target.slice.tensor.name;
  }

  const ModelConfig config_ = *LoadModelConfig(DemoModel());
};

TEST_F(DeviceWeightsTest, ARankUploadsItsPartsOfTheFiles) {
  ExpectPartsOfTheWhole(/*is_dummy=*/false);
}

TEST_F(DeviceWeightsTest, ARankGeneratesItsPartsOfTheSameDummies) {
  ExpectPartsOfTheWhole(/*is_dummy=*/true);
}

}  // namespace
}  // namespace drover::cuda
