#include "model/cuda/gpu_requirements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace drover::cuda {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int32_t kCuda130 = 13000;

GpuIdentity Gpu(std::string name, int32_t major, int32_t minor) {
  return {.name = std::move(name),
          .major = major,
          .minor = minor,
          .driver_cuda_version = kCuda130,
          .driver_release = "580.95.05"};
}

GpuBuild BuildFor(std::string_view architectures) {
  return {.cuda_version = kCuda130, .architectures = architectures};
}

TEST(GpuRequirementsTest, AGpuBeforeAmpereIsRefusedByName) {
  EXPECT_THAT(
      CheckRequirements(Gpu("Tesla V100-SXM2-32GB", 7, 0), BuildFor("all")),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               "Tesla V100-SXM2-32GB (compute capability 7.0, driver "
               "580.95.05, CUDA 13.0) is too old: compute capability 8.0 or "
               "later is needed"));
}

TEST(GpuRequirementsTest, ADriverForAnOlderCudaIsRefusedByName) {
  GpuIdentity gpu = Gpu("NVIDIA H100 PCIe", 9, 0);
  gpu.driver_cuda_version = 12080;
  gpu.driver_release = "570.124.06";
  EXPECT_THAT(
      CheckRequirements(gpu, BuildFor("90a")),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               "the driver of NVIDIA H100 PCIe (compute capability 9.0, driver "
               "570.124.06, CUDA 12.8) is too old: one for CUDA 13.0 or later "
               "is needed"));
}

TEST(GpuRequirementsTest, TheMajorVersionOfTheRuntimeIsEnough) {
  const GpuBuild built_with_13_2 = {.cuda_version = 13020,
                                    .architectures = "90a"};
  GpuIdentity gpu = Gpu("NVIDIA H200", 9, 0);
  EXPECT_THAT(CheckRequirements(gpu, built_with_13_2), IsOk());
  gpu.driver_cuda_version = 14010;
  EXPECT_THAT(CheckRequirements(gpu, built_with_13_2), IsOk());
}

TEST(GpuRequirementsTest, ADriverOfUnknownReleaseIsNamedByItsCuda) {
  GpuIdentity gpu = Gpu("NVIDIA A100", 8, 0);
  gpu.driver_cuda_version = 12020;
  gpu.driver_release = "";
  EXPECT_THAT(CheckRequirements(gpu, BuildFor("80")),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("driver CUDA 12.2) is too old")));
}

struct CodeCase {
  std::string situation;
  std::string architectures;
  int32_t major = 0;
  int32_t minor = 0;
  bool runs = false;
};

TEST(GpuRequirementsTest, TheProgramNeedsMachineCodeForTheGpu) {
  const std::vector<CodeCase> cases = {
      {"Hopper, the default build", "90a", 9, 0, true},
      {"Hopper, machine code only", "90a-real", 9, 0, true},
      {"Hopper beside Ampere", "80-real,90a-real", 9, 0, true},
      {"Hopper without its own instructions", "90", 9, 0, false},
      {"Hopper, compiled for Ampere", "80", 9, 0, false},
      {"Hopper, only PTX", "90a-virtual", 9, 0, false},
      {"Hopper, whatever all may hold", "all", 9, 0, false},
      {"Ampere, compiled for Hopper", "90a", 8, 0, false},
      {"Ampere beside Hopper", "80-real,90a-real", 8, 0, true},
      {"Ada runs code of Ampere", "80", 8, 9, true},
      {"Ampere runs no code of Ada", "89", 8, 0, false},
      {"Ampere, only PTX", "80-virtual", 8, 0, false},
      {"Ampere, a word", "all-major", 8, 0, true},
      {"Blackwell, compiled for Hopper", "90a", 10, 0, false},
      {"Blackwell, compiled for it", "90a,100", 10, 0, true},
      {"Blackwell's second, for the first alone", "100a", 10, 3, false},
      {"Blackwell's second, for the family", "100f", 10, 3, true},
      {"nothing was said", "", 8, 0, true},
  };
  for (const CodeCase& c : cases) {
    const absl::Status status = CheckRequirements(
        Gpu("a GPU", c.major, c.minor), BuildFor(c.architectures));
    EXPECT_EQ(status.ok(), c.runs) << c.situation << ": " << status;
  }
}

TEST(GpuRequirementsTest, WhatToBuildIsSaid) {
  EXPECT_THAT(
      CheckRequirements(Gpu("NVIDIA L40S", 8, 9), BuildFor("90a")),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               "this program was not compiled for NVIDIA L40S (compute "
               "capability 8.9, driver 580.95.05, CUDA 13.0) but for 90a: "
               "build it with -DCMAKE_CUDA_ARCHITECTURES=89"));
  EXPECT_THAT(CheckRequirements(Gpu("NVIDIA H200", 9, 0), BuildFor("80,86")),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("but for 80,86"),
                             HasSubstr("CMAKE_CUDA_ARCHITECTURES=90a"))));
}

TEST(DriverReleaseTest, IsFoundInWhatTheKernelModuleSays) {
  EXPECT_EQ(DriverRelease("NVRM version: NVIDIA UNIX x86_64 Kernel Module  "
                          "535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"
                          "GCC version:  gcc version 12.2.0 (Debian)\n"),
            "535.104.05");
  EXPECT_EQ(DriverRelease("NVRM version: NVIDIA UNIX Open Kernel Module for "
                          "x86_64  580.95.05  Release Build  (root@host)\n"),
            "580.95.05");
  EXPECT_EQ(DriverRelease("no module"), "");
  EXPECT_EQ(DriverRelease(""), "");
}

}  // namespace
}  // namespace drover::cuda
