#include "server/client/bench/length_range.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/testing/status_matchers.h"

namespace drover::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(LengthRange, ReadsOneNumberAndTwo) {
  const auto fixed = ParseLengthRange("--input-len", "1024");
  ASSERT_THAT(fixed, IsOk());
  EXPECT_EQ(fixed->min, 1024);
  EXPECT_EQ(fixed->max, 1024);
  EXPECT_EQ(fixed->ToString(), "1024");

  const auto range = ParseLengthRange("--input-len", "16:10000000");
  ASSERT_THAT(range, IsOk());
  EXPECT_EQ(range->min, 16);
  EXPECT_EQ(range->max, 10'000'000);
  EXPECT_EQ(range->ToString(), "16:10000000");
}

TEST(LengthRange, RefusesWhatIsNoRangeAndNamesTheFlag) {
  for (const char* text :
       {"", "0", "-1", "x", "1:", ":1", "2:1", "0:5", "1:2:3", "10000001",
        "1:10000001", "99999999999", "1.5"}) {
    EXPECT_THAT(ParseLengthRange("--output-len", text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(std::string("--output-len \"") + text)))
        << text;
  }
}

TEST(LengthRange, DrawsEveryLengthOfTheRangeAndNoOther) {
  SeededRandom random(7, SeededRandom::Purpose::kLengths);
  std::set<int32_t> drawn;
  for (int i = 0; i < 200; ++i) drawn.insert(LengthRange{3, 6}.Draw(random));
  EXPECT_THAT(drawn, ElementsAre(3, 4, 5, 6));
}

}  // namespace
}  // namespace drover::bench
