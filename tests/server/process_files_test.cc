#include "server/process_files.h"

#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

std::string Content(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

constexpr char kReadyLine[] =
    "{\"pid\":7,\"grpc_port\":8033,\"http_port\":3000}\n";

TEST(ProcessFilesTest, TheReadyFileReplacesAnOlderOne) {
  const TempDir folder;
  const std::string path = folder.Write("ready",
                                        "something longer than that, "
                                        "from the last time we ran");
  ASSERT_THAT(WriteReadyFile(path, {7, 8033, 3000}), IsOk());
  EXPECT_EQ(Content(path), kReadyLine);
}

TEST(ProcessFilesTest, AFifoIsWrittenToRatherThanReplaced) {
  const TempDir folder;
  const std::string path = folder.path() + "/ready";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  std::string read;
  std::thread reader([&] { read = Content(path); });
  EXPECT_THAT(WriteReadyFile(path, {7, 8033, 3000}), IsOk());
  reader.join();
  EXPECT_EQ(read, kReadyLine);
}

TEST(ProcessFilesTest, AReadyFileThatCannotBeWrittenIsNamed) {
  EXPECT_THAT(WriteReadyFile("/no/such/folder/ready", {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::HasSubstr("/no/such/folder/ready")));
}

TEST(ProcessFilesTest, TheTerminationLogHoldsTheLastCause) {
  const TempDir folder;
  const std::string path = folder.Write("log", "an older and longer cause");
  WriteTerminationLog(path, "cannot start: no model");
  EXPECT_EQ(Content(path), "cannot start: no model\n");
  WriteTerminationLog("/no/such/folder/log", "is no error");
  WriteTerminationLog("", "is none either");
}

TEST(ProcessFilesTest, TheProcessHasAnAgeThatGrows) {
  const absl::Duration first = ProcessAge();
  EXPECT_GE(first, absl::ZeroDuration());
  EXPECT_LT(first, absl::Hours(1));
  EXPECT_GE(ProcessAge(), first);
}

TEST(ProcessFilesTest, ProgramsAreLookedForBesideThisOne) {
  const std::string path = ProgramBesideThis("server_process_test");
  EXPECT_TRUE(std::ifstream(path).good()) << path;
}

}  // namespace
}  // namespace drover
