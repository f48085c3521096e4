#include "model/weight_prefetch.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/model/executor_harness.h"
#include "tests/model/safetensors_builder.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr size_t kPageBytes = 16;

// A file of float16, in pages of which a row of the matrix takes two:
//
//   norm    [32]     pages 0 to 3
//   matrix  [8, 16]  pages 4 to 19
//   bias    [3]      page 20, at the file's end
class PagesOfPartsTest : public ::testing::Test {
 protected:
  PagesOfPartsTest() {
    std::string header = R"({
        "norm": {"dtype": "F16", "shape": [32], "data_offsets": [0, 64]},
        "matrix": {"dtype": "F16", "shape": [8, 16],
                   "data_offsets": [64, 320]},
        "bias": {"dtype": "F16", "shape": [3], "data_offsets": [320, 326]}})";
    // Data begin with a page, behind the eight bytes of the header's length.
    header.resize((header.size() / kPageBytes + 1) * kPageBytes + 8, ' ');
    folder_.Write("model.safetensors",
                  SafetensorsBytes(header, std::string(326, 'x')));
    auto files = WeightFiles::Open(folder_.path());
    EXPECT_THAT(files, IsOk());
    files_ = std::make_unique<WeightFiles>(*std::move(files));
  }

  // First and last page of each range, from the data's first.
  std::vector<std::pair<int64_t, int64_t>> Pages(
      const std::vector<TensorSlice>& parts) const {
    const std::byte* const data = files_->Find("norm")->bytes.data();
    std::vector<std::pair<int64_t, int64_t>> pages;
    for (const auto& range : PagesOfParts(*files_, parts, kPageBytes)) {
      const int64_t begin = range.data() - data;
      const auto size = static_cast<int64_t>(range.size());
      EXPECT_EQ(begin % kPageBytes, 0);
      EXPECT_EQ(size % kPageBytes, 0);
      pages.emplace_back(begin / kPageBytes, (begin + size) / kPageBytes - 1);
    }
    return pages;
  }

  static TensorSlice Norm() { return {{"norm", {32}}, {{0, 32}}}; }
  static TensorSlice Bias() { return {{"bias", {3}}, {{0, 3}}}; }
  static TensorSlice Matrix(Slice rows, Slice columns) {
    return {{"matrix", {8, 16}}, {rows, columns}};
  }

  const TempDir folder_;
  std::unique_ptr<WeightFiles> files_;
};

TEST_F(PagesOfPartsTest, WholeTensorsAreOneRangeOverThePagesOfTheFile) {
  EXPECT_THAT(Pages({Bias(), Matrix({0, 8}, {0, 16}), Norm()}),
              ElementsAre(Pair(0, 20)));
}

TEST_F(PagesOfPartsTest, RowsAreTheirOwnPages) {
  EXPECT_THAT(Pages({Matrix({2, 3}, {0, 16})}), ElementsAre(Pair(8, 13)));
}

TEST_F(PagesOfPartsTest, ColumnsGoFromTheirFirstByteToTheirLast) {
  EXPECT_THAT(Pages({Matrix({0, 8}, {0, 8})}), ElementsAre(Pair(4, 18)));
  EXPECT_THAT(Pages({Matrix({0, 8}, {8, 8})}), ElementsAre(Pair(5, 19)));
}

TEST_F(PagesOfPartsTest, PartsOfAPageAreThePage) {
  EXPECT_THAT(Pages({{{"norm", {32}}, {{7, 2}}}}), ElementsAre(Pair(0, 1)));
  EXPECT_THAT(Pages({{{"norm", {32}}, {{8, 1}}}}), ElementsAre(Pair(1, 1)));
}

TEST_F(PagesOfPartsTest, RangesThatDoNotTouchStayApart) {
  EXPECT_THAT(Pages({Matrix({6, 2}, {0, 16}), Norm(), Matrix({0, 1}, {0, 16})}),
              ElementsAre(Pair(0, 5), Pair(16, 19)));
}

TEST_F(PagesOfPartsTest, WhatIsAnotherRanksIsNotThere) {
  EXPECT_THAT(Pages({{{"bias", {3}}, {{}}}}), IsEmpty());
}

TEST_F(PagesOfPartsTest, FilesComeInTheirOrder) {
  const TempDir folder;
  const std::string header =
      R"({"$": {"dtype": "F16", "shape": [16], "data_offsets": [0, 32]}})";
  folder.Write("model.safetensors.index.json", R"({"weight_map": {
      "a": "model-a.safetensors", "b": "model-b.safetensors",
      "c": "model-c.safetensors"}})");
  std::vector<TensorSlice> parts;
  for (const std::string name : {"c", "a", "b"}) {
    std::string own = header;
    own.replace(own.find('$'), 1, name);
    folder.Write("model-" + name + ".safetensors",
                 SafetensorsBytes(own, std::string(32, 'x')));
    parts.push_back({{name, {16}}, {{0, 16}}});
  }
  const auto files = WeightFiles::Open(folder.path());
  ASSERT_THAT(files, IsOk());
  const auto pages = PagesOfParts(*files, parts, /*page_bytes=*/1);
  ASSERT_EQ(pages.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    const std::string name(1, static_cast<char>('a' + i));
    EXPECT_EQ(pages[i].data(), files->Find(name)->bytes.data()) << name;
  }
}

int64_t NumBytes(const std::vector<absl::Span<const std::byte>>& ranges) {
  int64_t total = 0;
  for (const auto& range : ranges) total += static_cast<int64_t>(range.size());
  return total;
}

TEST(ModelPagesTest, ARankOfSeveralHasLessOfAModelThanOneAlone) {
  const auto config = LoadModelConfig(DemoModel());
  const auto files = WeightFiles::Open(DemoModel());
  ASSERT_THAT(config, IsOk());
  ASSERT_THAT(files, IsOk());
  const auto parts = [&](int32_t rank, int32_t world_size) {
    return SliceTensors(*config, *PartitionModel(*config, rank, world_size));
  };
  const auto whole = PagesOfParts(*files, parts(0, 1), /*page_bytes=*/1);
  EXPECT_EQ(whole.size(), 1u);
  for (int32_t rank = 0; rank < 4; ++rank) {
    EXPECT_LT(NumBytes(PagesOfParts(*files, parts(rank, 4), /*page_bytes=*/1)),
              NumBytes(whole) * 2 / 3);
  }
}

}  // namespace
}  // namespace drover
