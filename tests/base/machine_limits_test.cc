#include "base/machine_limits.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace drover {
namespace {

// A file system root with just the files that are read.
class MachineLimitsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "limits_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern + "/";
    Write("proc/meminfo",
          "MemTotal:       1048576 kB\nMemFree:         524288 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  std::string root_;
};

TEST_F(MachineLimitsTest, WithoutACgroupTheMachineCounts) {
  const MachineLimits limits = ReadMachineLimits(root_);
  EXPECT_EQ(limits.memory_bytes, int64_t{1} << 30);
  EXPECT_GE(limits.num_cpus, 1);
}

TEST_F(MachineLimitsTest, AVersion2QuotaAndMemoryLimitCount) {
  Write("sys/fs/cgroup/cpu.max", "50000 100000\n");
  Write("sys/fs/cgroup/memory.max", "268435456\n");
  const MachineLimits limits = ReadMachineLimits(root_);
  EXPECT_EQ(limits.num_cpus, 1) << "half a CPU rounds up";
  EXPECT_EQ(limits.memory_bytes, 268435456);
}

TEST_F(MachineLimitsTest, MaxMeansNoLimit) {
  const int machine_cpus = ReadMachineLimits(root_).num_cpus;
  Write("sys/fs/cgroup/cpu.max", "max 100000\n");
  Write("sys/fs/cgroup/memory.max", "max\n");
  const MachineLimits limits = ReadMachineLimits(root_);
  EXPECT_EQ(limits.num_cpus, machine_cpus);
  EXPECT_EQ(limits.memory_bytes, int64_t{1} << 30);
}

TEST_F(MachineLimitsTest, TheTightestOfNestedCgroupsCounts) {
  Write("proc/self/cgroup", "0::/system.slice/drover.service\n");
  Write("sys/fs/cgroup/system.slice/cpu.max", "100000 100000\n");
  Write("sys/fs/cgroup/system.slice/drover.service/cpu.max", "max 100000\n");
  Write("sys/fs/cgroup/system.slice/memory.max", "536870912\n");
  Write("sys/fs/cgroup/system.slice/drover.service/memory.max", "268435456\n");
  const MachineLimits limits = ReadMachineLimits(root_);
  EXPECT_EQ(limits.num_cpus, 1);
  EXPECT_EQ(limits.memory_bytes, 268435456);
}

TEST_F(MachineLimitsTest, AVersion1CgroupIsFoundByItsController) {
  Write("proc/self/cgroup", "7:memory:/box\n4:cpu,cpuacct:/other\n");
  Write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "268435456\n");
  Write("sys/fs/cgroup/cpu/other/cpu.cfs_quota_us", "50000\n");
  Write("sys/fs/cgroup/cpu/other/cpu.cfs_period_us", "100000\n");
  const MachineLimits limits = ReadMachineLimits(root_);
  EXPECT_EQ(limits.num_cpus, 1);
  EXPECT_EQ(limits.memory_bytes, 268435456);
}

TEST_F(MachineLimitsTest, AVersion1LimitAboveTheMachineDoesNotCount) {
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  const MachineLimits limits = ReadMachineLimits(root_);
  EXPECT_EQ(limits.num_cpus, 1);
  EXPECT_EQ(limits.memory_bytes, int64_t{1} << 30);
}

}  // namespace
}  // namespace drover
