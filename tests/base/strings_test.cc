#include "base/strings.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "base/fnv1a.h"

namespace drover {
namespace {

TEST(StringsTest, StrCatTakesEveryKindOfTextAndNumbers) {
  const std::string_view view = std::string_view("viewed").substr(0, 4);
  EXPECT_EQ(
      StrCat(view, " ", std::string("string"), absl::string_view("!"), 7, -1.5),
      "view string!7-1.5");
  EXPECT_EQ(StrCat(), "");
}

TEST(StringsTest, QuotedTextIsOneLineAndStaysReadable) {
  EXPECT_EQ(Quoted("fox"), "\"fox\"");
  EXPECT_EQ(Quoted("a\n\"é\x01"), "\"a\\n\\\"é\\001\"");
}

// The values that the hash's authors publish.
TEST(Fnv1aTest, HashesArePublishedOnes) {
  static_assert(Fnv1a("") == 0xcbf29ce484222325);
  EXPECT_EQ(Fnv1a("a"), 0xaf63dc4c8601ec8c);
  EXPECT_EQ(Fnv1a("foobar"), 0x85944171f73967e8);
  EXPECT_EQ(Fnv1a("bar", Fnv1a("foo")), Fnv1a("foobar"));
}

}  // namespace
}  // namespace drover
