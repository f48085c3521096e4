#include "base/cpu_affinity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CpusOfPciDeviceTest : public ::testing::Test {
 protected:
  void WriteList(const std::string& list) const {
    const std::string folder = root() + "sys/bus/pci/devices/0000:3b:00.0";
    std::filesystem::create_directories(folder);
    std::ofstream(folder + "/local_cpulist") << list << "\n";
  }
  std::string root() const { return folder_.path() + "/"; }

  const TempDir folder_;
};

TEST_F(CpusOfPciDeviceTest, ReadsTheKernelsList) {
  WriteList("0-2,8,10-11");
  const auto cpus = CpusOfPciDevice("0000:3B:00.0", root());
  ASSERT_TRUE(cpus.ok()) << cpus.status();
  EXPECT_THAT(*cpus, ElementsAre(0, 1, 2, 8, 10, 11));
}

TEST_F(CpusOfPciDeviceTest, WhatIsNoListIsNotFound) {
  EXPECT_EQ(CpusOfPciDevice("0000:3b:00.0", root()).status().code(),
            absl::StatusCode::kNotFound);
  for (const char* list : {"", "a", "1-2-3", "-1", "1,,2", "0-99999999"}) {
    WriteList(list);
    EXPECT_EQ(CpusOfPciDevice("0000:3b:00.0", root()).status().code(),
              absl::StatusCode::kNotFound)
        << list;
  }
}

TEST(KeepToCpusTest, ThreadsStayOnThoseThatMayBeUsed) {
  // On a thread, so that other tests keep their CPUs.
  std::thread([] {
    cpu_set_t before;
    ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
    int first = 0;
    while (!CPU_ISSET(first, &before)) ++first;
    int forbidden = 0;
    while (CPU_ISSET(forbidden, &before)) ++forbidden;

    EXPECT_THAT(KeepToCpus({forbidden}),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr("none of the CPUs " +
                                   std::to_string(forbidden) + " may be")));
    cpu_set_t after;
    ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
    EXPECT_TRUE(CPU_EQUAL(&before, &after));

    EXPECT_THAT(KeepToCpus({forbidden, first}), IsOk());
    std::thread([first] {
      cpu_set_t inherited;
      ASSERT_EQ(sched_getaffinity(0, sizeof(inherited), &inherited), 0);
      EXPECT_EQ(CPU_COUNT(&inherited), 1);
      EXPECT_TRUE(CPU_ISSET(first, &inherited));
      EXPECT_THAT(UsableCpus(), ElementsAre(first));
    }).join();
  }).join();
}

TEST(CpuListStringTest, RunsAreWrittenAsTheirEnds) {
  EXPECT_EQ(CpuListString({}), "");
  EXPECT_EQ(CpuListString({3}), "3");
  EXPECT_EQ(CpuListString({0, 1}), "0-1");
  EXPECT_EQ(CpuListString({0, 1, 2, 8, 10, 11}), "0-2,8,10-11");
}

}  // namespace
}  // namespace drover
