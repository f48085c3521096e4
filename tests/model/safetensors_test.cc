#include "model/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/model/safetensors_builder.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

absl::StatusOr<SafetensorsFile> OpenBytes(std::string_view bytes) {
  const TempDir dir;  // the mapping outlives the name
  return SafetensorsFile::Open(dir.Write("x.safetensors", bytes));
}

std::string_view Text(const TensorView& view) {
  return {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()};
}

// Two tensors, an empty one, a scalar, metadata, and padding after the header.
std::string ValidBytes() {
  return SafetensorsBytes(
      R"({"__metadata__": {"format": "pt"},
          "b": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [4, 8]},
          "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
          "none": {"dtype": "F32", "shape": [0, 7], "data_offsets": [8, 8]},
          "scalar": {"dtype": "F16", "shape": [], "data_offsets": [8, 10]}}   )",
      "AAAABBBBSS");
}

TEST(SafetensorsTest, TensorsAreWhereTheHeaderSays) {
  const auto file = OpenBytes(ValidBytes());
  ASSERT_THAT(file, IsOk());
  ASSERT_EQ(file->tensors().size(), 4u);
  const TensorView& a = file->tensors().at("a");
  EXPECT_EQ(a.dtype, DType::kFloat32);
  EXPECT_THAT(a.shape, ElementsAre(1));
  EXPECT_EQ(Text(a), "AAAA");
  const TensorView& b = file->tensors().at("b");
  EXPECT_EQ(b.dtype, DType::kBFloat16);
  EXPECT_THAT(b.shape, ElementsAre(2, 1));
  EXPECT_EQ(Text(b), "BBBB");
  EXPECT_EQ(Text(file->tensors().at("none")), "");
  EXPECT_EQ(Text(file->tensors().at("scalar")), "SS");
  EXPECT_EQ(file->file_bytes(), static_cast<int64_t>(ValidBytes().size()));
}

TEST(SafetensorsTest, ViewsOutliveAMoveOfTheirFile) {
  auto file = OpenBytes(ValidBytes());
  ASSERT_THAT(file, IsOk());
  const TensorView* a = &file->tensors().at("a");
  const SafetensorsFile moved = *std::move(file);
  EXPECT_EQ(&moved.tensors().at("a"), a);
  EXPECT_EQ(Text(*a), "AAAA");
}

TEST(SafetensorsTest, AHeaderWithoutTensorsIsAnEmptyFile) {
  const auto file = OpenBytes(SafetensorsBytes("{}", ""));
  ASSERT_THAT(file, IsOk());
  EXPECT_TRUE(file->tensors().empty());
}

TEST(SafetensorsTest, BadFilesAreRefusedInOneLineThatNamesThem) {
  struct Row {
    const char* situation;
    std::string bytes;
    const char* message;
  };
  const std::string huge_length = "\xff\xff\xff\xff\xff\xff\xff\xff{}";
  for (const Row& row : std::vector<Row>{
           {"empty", "", "no safetensors file: 0 bytes"},
           {"shorter than a length", "\1\0\0", "no safetensors file"},
           {"pickle", std::string("PK\3\4\0\0\0\0\0\0\0\0", 12), "header of"},
           {"header longer than allowed", huge_length, "at most 100000000"},
           {"header longer than the file",
            SafetensorsBytes("{\"a\": 1}", "").substr(0, 12),
            "header of 8 bytes in 12 bytes of file"},
           {"no header", SafetensorsBytes("", ""), "does not begin with {"},
           {"header begins with a space", SafetensorsBytes(" {}", ""),
            "does not begin with {"},
           {"header is cut", SafetensorsBytes("{\"a\":", ""), "not valid JSON"},
           {"header is not UTF-8", SafetensorsBytes("{\"\xff\": {}}", ""),
            "not valid JSON"},
           {"git-lfs pointer",
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a git-lfs pointer"},
       }) {
    EXPECT_THAT(
        OpenBytes(row.bytes),
        StatusIs(kInvalid, AllOf(HasSubstr("/x.safetensors: "),
                                 HasSubstr(row.message), Not(HasSubstr("\n")))))
        << row.situation;
  }
}

TEST(SafetensorsTest, BadTensorsAreRefusedByName) {
  struct Row {
    const char* situation;
    const char* entries;  // with 8 bytes of data
    const char* message;
  };
  for (const Row& row : std::vector<Row>{
           {"no object", R"("a": 1)", "expected dtype, shape and"},
           {"no offsets", R"("a": {"dtype": "F32", "shape": [2]})",
            "expected dtype, shape and data_offsets"},
           {"unusable dtype",
            R"("a": {"dtype": "I8", "shape": [8], "data_offsets": [0, 8]})",
            "dtype \"I8\", expected F32, F16 or BF16"},
           {"dtype is a number",
            R"("a": {"dtype": 1, "shape": [8], "data_offsets": [0, 8]})",
            "dtype is no string"},
           {"shape is a number",
            R"("a": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]})",
            "shape is no list"},
           {"negative size",
            R"("a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]})",
            "shape is no list"},
           {"size of more than 63 bits",
            R"("a": {"dtype": "F32", "shape": [9223372036854775808],
                     "data_offsets": [0, 8]})",
            "shape is no list"},
           {"nine dimensions",
            R"("a": {"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,2],
                     "data_offsets": [0, 8]})",
            "up to 8 sizes"},
           {"product that overflows to the right size",
            R"("a": {"dtype": "F32", "shape": [4611686018427387906],
                     "data_offsets": [0, 8]})",
            "does not take 8 bytes"},
           {"shape of another size",
            R"("a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]})",
            "shape [3] of float32 does not take 8 bytes"},
           {"one offset",
            R"("a": {"dtype": "F32", "shape": [2], "data_offsets": [0]})",
            "no pair of offsets"},
           {"offsets backwards",
            R"("a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]})",
            "bytes 8 to 0 of 8"},
           {"beyond the data",
            R"("a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]})",
            "bytes 4 to 12 of 8 bytes of data"},
           {"overlap",
            R"("b": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
               "a": {"dtype": "F16", "shape": [3], "data_offsets": [2, 8]})",
            "overlaps another: begins at 2, expected 4"},
           {"twice the same bytes",
            R"("a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
               "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]})",
            "overlaps another"},
           {"hole",
            R"("b": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
               "a": {"dtype": "F16", "shape": [2], "data_offsets": [4, 8]})",
            "follows a hole: begins at 4, expected 2"},
       }) {
    EXPECT_THAT(
        OpenBytes(
            SafetensorsBytes("{" + std::string(row.entries) + "}", "01234567")),
        StatusIs(kInvalid, AllOf(HasSubstr("tensor \""), HasSubstr(row.message),
                                 Not(HasSubstr("\n")))))
        << row.situation;
  }
}

TEST(SafetensorsTest, SurplusDataAndRepeatedNamesAreRefused) {
  constexpr std::string_view kEntry =
      R"("a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})";
  const std::string once = "{" + std::string(kEntry) + "}";
  EXPECT_THAT(
      OpenBytes(SafetensorsBytes(once, "01234")),
      StatusIs(kInvalid, HasSubstr("tensors end at byte 4 of 5 bytes")));
  const std::string twice =
      "{" + std::string(kEntry) + "," + std::string(kEntry) + "}";
  EXPECT_THAT(OpenBytes(SafetensorsBytes(twice, "0123")),
              StatusIs(kInvalid, HasSubstr("\"a\" occurs twice")));
}

TEST(SafetensorsTest, NamesAreEscapedInMessages) {
  EXPECT_THAT(OpenBytes(SafetensorsBytes(R"({"a\nb": 1})", "")),
              StatusIs(kInvalid, HasSubstr(R"(tensor "a\nb")")));
}

TEST(SafetensorsTest, WhatIsNoRegularFileIsRefused) {
  const TempDir dir;
  EXPECT_THAT(SafetensorsFile::Open(dir.path() + "/none"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/none")));
  EXPECT_THAT(SafetensorsFile::Open(dir.path()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not a regular file")));
  const std::string pipe = dir.path() + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(SafetensorsFile::Open(pipe),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not a regular file")));
}

// Whatever happens to a file, opening it gives an error or tensors that lie
// within it. (Under AddressSanitizer a read beyond the mapping ends the test.)
TEST(SafetensorsTest, MutatedFilesNeverGiveTensorsOutsideThem) {
  constexpr uint64_t kSeed = 20260727;
  constexpr int kRounds = 2000;
  RecordProperty("seed", std::to_string(kSeed));
  std::mt19937_64 random(kSeed);
  const std::string valid = ValidBytes();
  const TempDir dir;
  int num_refused = 0;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    std::string bytes = valid;
    for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
      bytes[random() % bytes.size()] ^= static_cast<char>(1 + random() % 255);
    }
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    const auto file = SafetensorsFile::Open(dir.Write("x", bytes));
    if (!file.ok()) {
      ++num_refused;
      continue;
    }
    int64_t sum = 0;
    for (const auto& [name, view] : file->tensors()) {
      for (const std::byte byte : view.bytes) sum += std::to_integer<int>(byte);
    }
    EXPECT_GE(sum, 0);
    EXPECT_LE(file->tensors().size(), 4u);
  }
  EXPECT_GT(num_refused, 0);
  EXPECT_LT(num_refused, kRounds);
}

}  // namespace
}  // namespace drover
