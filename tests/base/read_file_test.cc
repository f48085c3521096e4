#include "base/read_file.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ReadFileTest, TheWholeContentIsReadUpToTheLimit) {
  const TempDir dir;
  const std::string content("a\0\r\n\xFF", 5);
  const std::string path = dir.Write("x", content);
  EXPECT_EQ(*ReadFile(path, 5), content);
  EXPECT_THAT(ReadFile(path, 4),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(path), HasSubstr("5 bytes"),
                             HasSubstr("at most 4"))));
  EXPECT_EQ(*ReadFile(dir.Write("empty", ""), 0), "");
}

TEST(ReadFileTest, WhatIsNoFileIsRefusedByPath) {
  const TempDir dir;
  EXPECT_THAT(ReadFile(dir.path() + "/none", 9),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/none: ")));
  EXPECT_THAT(ReadFile(dir.path(), 9),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr(dir.path() + ": not a regular file")));
}

TEST(ReadFileTest, APemFileHasABlock) {
  const TempDir dir;
  const std::string pem = "# mine\n-----BEGIN CERTIFICATE-----\nAA==\n";
  EXPECT_EQ(*ReadPemFile(dir.Write("good", pem)), pem);
  EXPECT_THAT(ReadPemFile(dir.Write("der", "\x30\x82")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("/der: not a PEM file")));
  EXPECT_THAT(ReadPemFile(dir.path() + "/none"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/none: ")));
}

TEST(ReadFileTest, PointersOfGitLfsAreNotTheFile) {
  const TempDir dir;
  const std::string path = dir.Write(
      "x", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
  EXPECT_THAT(ReadFile(path, 1000),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(path + ": a git-lfs pointer")));
  EXPECT_FALSE(IsLfsPointer("version 2"));
}

}  // namespace
}  // namespace drover
