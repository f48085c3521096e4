#include "sharding/child_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ChildProcessTest : public ::testing::Test {
 protected:
  std::unique_ptr<ChildProcess> StartShell(const std::string& script,
                                           int inherited_fd = -1) {
    auto child = ChildProcess::Start({.program = "/bin/sh",
                                      .args = {"-c", script},
                                      .inherited_fd = inherited_fd,
                                      .on_line = [this](std::string_view line) {
                                        lines_.emplace_back(line);
                                      }});
    EXPECT_TRUE(child.ok()) << child.status();
    return *std::move(child);
  }

  // Written by the child's reader, read after WaitForExit.
  std::vector<std::string> lines_;
};

TEST_F(ChildProcessTest, DeliversItsLinesAndItsEnd) {
  auto child = StartShell("echo one; echo two >&2; printf three; exit 3");
  ASSERT_TRUE(child->WaitForExit(absl::Seconds(30)));
  EXPECT_THAT(lines_, ElementsAre("one", "two", "three"));
  EXPECT_EQ(child->Epitaph(), "exited with status 3");
  EXPECT_EQ(child->exit_status(), 3);
}

TEST_F(ChildProcessTest, NamesTheSignalThatKilledIt) {
  auto child = StartShell("kill -6 $$");
  ASSERT_TRUE(child->WaitForExit(absl::Seconds(30)));
  EXPECT_EQ(child->Epitaph(), "was killed by signal 6 (Aborted)");
  EXPECT_EQ(child->exit_status(), std::nullopt);
}

TEST_F(ChildProcessTest, AKillSuggestsThatMemoryRanOut) {
  auto child = StartShell("kill -9 $$");
  ASSERT_TRUE(child->WaitForExit(absl::Seconds(30)));
  EXPECT_EQ(child->Epitaph(),
            "was killed by signal 9 (Killed; perhaps memory ran out)");
}

TEST_F(ChildProcessTest, HandsTheDescriptorOver) {
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  auto child = StartShell("echo over there >&3", sockets[1]);
  std::string received(11, '\0');
  ASSERT_EQ(recv(sockets[0], received.data(), received.size(), MSG_WAITALL),
            11);
  EXPECT_EQ(received, "over there\n");
  EXPECT_TRUE(child->WaitForExit(absl::Seconds(30)));
  close(sockets[0]);
}

TEST_F(ChildProcessTest, ADefaultOfTheEnvironmentYieldsToOurOwn) {
  ASSERT_EQ(setenv("DROVER_TEST_OURS", "ours", /*overwrite=*/1), 0);
  auto child = ChildProcess::Start(
      {.program = "/bin/sh",
       .args = {"-c", "echo $DROVER_TEST_OURS $DROVER_TEST_NEW"},
       .default_env = {"DROVER_TEST_OURS=default", "DROVER_TEST_NEW=default"},
       .on_line = [this](std::string_view line) {
         lines_.emplace_back(line);
       }});
  ASSERT_TRUE(child.ok()) << child.status();
  ASSERT_TRUE((*child)->WaitForExit(absl::Seconds(30)));
  EXPECT_THAT(lines_, ElementsAre("ours default"));
}

TEST_F(ChildProcessTest, DestructionKillsWhatStillRuns) {
  auto child = StartShell("echo up; exec sleep 1000");
  const pid_t pid = child->pid();
  EXPECT_FALSE(child->WaitForExit(absl::ZeroDuration()));
  child.reset();
  EXPECT_EQ(kill(pid, 0), -1) << "the process is still there";
}

TEST_F(ChildProcessTest, AProgramThatIsNotThereIsNamed) {
  const auto child = ChildProcess::Start({.program = "/no/such/program"});
  EXPECT_EQ(child.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(child.status().message()),
              HasSubstr("/no/such/program"));
}

TEST_F(ChildProcessTest, WhatIsNoProgramIsAnErrorAndNoChild) {
  const TempDir folder;
  const std::string text = folder.Write("text", "no program\n");
  for (const auto& [program, mode, why] :
       {std::tuple("/", 0, "Permission denied"),
        std::tuple(text.c_str(), 0600, "Permission denied"),
        std::tuple(text.c_str(), 0700, "Exec format error")}) {
    SCOPED_TRACE(why);
    if (mode != 0) chmod(program, mode);
    const auto child = ChildProcess::Start({.program = program});
    EXPECT_EQ(child.status(), absl::NotFoundError(absl::StrCat(
                                  "cannot execute ", program, ": ", why)));
  }
}

}  // namespace
}  // namespace drover
