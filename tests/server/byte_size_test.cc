#include "server/byte_size.h"

#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

TEST(ByteSizeTest, NumbersAndUnitsGiveBytes) {
  struct Row {
    const char* text;
    int64_t bytes;
  };
  for (const Row& row :
       {Row{"0", 0}, Row{"4096", 4096}, Row{"12B", 12}, Row{"1KiB", 1024},
        Row{"512MiB", 536870912}, Row{"2GiB", 2147483648},
        Row{"2gib", 2147483648}, Row{" 1.5 GiB ", 1610612736},
        Row{"1TiB", 1099511627776}, Row{"3kB", 3000},
        Row{"1.5GB", 1500000000}}) {
    SCOPED_TRACE(row.text);
    const absl::StatusOr<int64_t> bytes = ParseByteSize(row.text);
    ASSERT_THAT(bytes, IsOk());
    EXPECT_EQ(*bytes, row.bytes);
  }
}

TEST(ByteSizeTest, AnythingElseIsRefusedByName) {
  for (const char* text :
       {"", "GiB", "2 Gx", "-1", "1e3", "1.2.3GiB", "2GiB3", "99999999TiB"}) {
    SCOPED_TRACE(text);
    const absl::Status status = ParseByteSize(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_NE(std::string(status.message()).find(text), std::string::npos);
  }
}

TEST(ByteSizeTest, SizesArePrintedInTheirLargestUnit) {
  EXPECT_EQ(FormatByteSize(0), "0 B");
  EXPECT_EQ(FormatByteSize(1023), "1023 B");
  EXPECT_EQ(FormatByteSize(1024), "1 KiB");
  EXPECT_EQ(FormatByteSize(1536), "1.50 KiB");
  EXPECT_EQ(FormatByteSize(int64_t{3} << 40), "3 TiB");
}

}  // namespace
}  // namespace drover
