#include "model/cuda/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/cuda/cuda_executor.h"
#include "tests/model/cuda/fake_driver.h"
#include "tests/testing/status_matchers.h"

namespace drover::cuda {
namespace {

using ::drover::testing::FakeDriver;
using ::drover::testing::TheFakeDriver;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// GPUs that are not there, so that every machine can refuse them.
class DeviceTest : public ::testing::Test {
 protected:
  DeviceTest() { TheFakeDriver() = FakeDriver(); }
};

TEST_F(DeviceTest, AGpuThatIsTooOldIsRefusedByName) {
  TheFakeDriver().name = "Tesla T4";
  TheFakeDriver().major = 7;
  TheFakeDriver().minor = 5;
  EXPECT_THAT(CheckDevice(0),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(StartsWith("Tesla T4 (compute capability 7.5"),
                             HasSubstr("8.0 or later is needed"))));
}

TEST_F(DeviceTest, ADriverThatIsTooOldIsRefusedWithTheNameOfItsGpu) {
  TheFakeDriver().cuda_version = 12080;
  EXPECT_THAT(
      CheckDevice(0),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(StartsWith("the driver of NVIDIA H200 (compute "),
                     HasSubstr("CUDA 12.8"),
                     HasSubstr("one for CUDA 13.0 or later is needed"))));
}

TEST_F(DeviceTest, NoGpuIsNoFault) {
  TheFakeDriver().init_result = CUDA_ERROR_NO_DEVICE;
  EXPECT_THAT(CheckDevice(0),
              StatusIs(absl::StatusCode::kNotFound, "CUDA sees no GPU"));
  EXPECT_THAT(CudaDeviceStatus(),
              StatusIs(absl::StatusCode::kNotFound, "CUDA sees no GPU"));
}

TEST_F(DeviceTest, AGpuBeyondTheLastIsNotFound) {
  TheFakeDriver().num_gpus = 2;
  EXPECT_THAT(CheckDevice(2),
              StatusIs(absl::StatusCode::kNotFound,
                       "there is no GPU 2: CUDA sees 2 of them"));
}

TEST_F(DeviceTest, ADriverThatDoesNotWorkSaysWhy) {
  TheFakeDriver().init_result = CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
  EXPECT_THAT(CheckDevice(0),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "the NVIDIA driver answers with error 803, the fake "
                       "failed"));
}

TEST_F(DeviceTest, AnExecutorOnAGpuThatIsTooOldIsRefusedBeforeItIsTouched) {
  TheFakeDriver().name = "Tesla T4";
  TheFakeDriver().major = 7;
  CudaExecutorOptions options;
  options.model.dummy = *NamedModelConfig("llama-1.1b");
  const auto executor = CudaExecutor::Create(options, nullptr);
  EXPECT_THAT(executor, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 StartsWith("Tesla T4")));
}

TEST_F(DeviceTest, WhyThreadsCannotStayNearAGpuIsSaid) {
  // CUDA's runtime finds no GPU behind the fake driver.
  EXPECT_THAT(StayNearDevice(0),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("its address")));
  EXPECT_EQ(StayNearGpu(0), StayNearDevice(0));
  TheFakeDriver().major = 7;
  EXPECT_THAT(StayNearGpu(0), IsOk()) << "what is refused has no place";
}

}  // namespace
}  // namespace drover::cuda
