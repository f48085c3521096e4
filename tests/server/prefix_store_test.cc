#include "server/prefix_store.h"

#include <cstring>
#include <filesystem>
#include <optional>
#include <string>

#include "base/strings.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/prefix_files.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::PrefixFileBytes;
using testing::SmallPrefixes;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

class PrefixStoreTest : public ::testing::Test {
 protected:
  PrefixStoreTest() {
    PrefixStore::Options options = SmallPrefixes(folder_.path() + "/store");
    std::filesystem::create_directories(options.root);
    store_.emplace(options);
  }

  // A file below the store's folder.
  void Write(const std::string& name, const std::string& content) {
    const std::filesystem::path path = "store/" + name;
    std::filesystem::create_directories(folder_.path() / path.parent_path());
    folder_.Write(path.string(), content);
  }

  SharedPrefix Find(const std::string& id) {
    const auto found = store_->Find(id);
    EXPECT_THAT(found, IsOk());
    if (!found.ok()) return nullptr;
    if (found->load_time.has_value()) ++num_loaded_;
    return found->prefix;
  }

  // Of the first element.
  float ValueOf(const std::string& id) {
    const SharedPrefix prefix = Find(id);
    float value = -1.0f;
    if (prefix != nullptr) std::memcpy(&value, prefix->rows.data(), 4);
    return value;
  }

  const TempDir folder_;
  std::optional<PrefixStore> store_;
  int num_loaded_ = 0;
};

TEST_F(PrefixStoreTest, AnEmptyIdAsksForNone) {
  EXPECT_EQ(Find(""), nullptr);
  EXPECT_EQ(num_loaded_, 0);
}

TEST_F(PrefixStoreTest, FilesAreFoundUnderEachNameInOrder) {
  Write("a.safetensors", PrefixFileBytes(1, 1.0f));
  EXPECT_EQ(ValueOf("a"), 1.0f);
  Write("a/decoder.safetensors", PrefixFileBytes(1, 2.0f));
  EXPECT_EQ(ValueOf("a"), 2.0f);
  Write("a/adapter_model.safetensors", PrefixFileBytes(1, 3.0f));
  EXPECT_EQ(ValueOf("a"), 3.0f);
  Write("team/tuned_1-a/adapter_model.safetensors", PrefixFileBytes(1, 4.0f));
  EXPECT_EQ(ValueOf("team/tuned_1-a"), 4.0f);
  Write("für.safetensors", PrefixFileBytes(1, 5.0f));
  EXPECT_EQ(ValueOf("für"), 5.0f);
}

TEST_F(PrefixStoreTest, AnIdThatIsTooLongIsNotRepeated) {
  EXPECT_THAT(
      store_->Find(std::string(1025, 'x')),
      StatusIs(kInvalid,
               "can't retrieve prompt prefix with an id of 1025 bytes: at most "
               "1024"));
  EXPECT_THAT(store_->Find(std::string(1024, 'x')),
              StatusIs(kInvalid, HasSubstr("not found")));
}

struct UnknownCase {
  const char* id;
  const char* cause;
};

TEST_F(PrefixStoreTest, WhatIsNotThereIsNotFound) {
  Write("folder/other.safetensors", PrefixFileBytes(1));
  Write("pickled/decoder.pt", "PK");
  Write("peft/adapter_model.bin", "PK");
  // Beside the store, not in it.
  folder_.Write("secret.safetensors", PrefixFileBytes(1));
  const UnknownCase cases[] = {
      {"team/x", "prefix id \"team/x\" not found"},
      {"folder", "prefix id \"folder\" not found"},
      {"pickled",
       "pickled/decoder.pt is a pickle, which is not read: expected "
       "safetensors"},
      {"peft",
       "peft/adapter_model.bin is a pickle, which is not read: expected "
       "safetensors"},
      {"../secret",
       "Invalid prefix id ../secret, must contain only alphanumeric, _ and - "
       "and /"},
      {"a b",
       "Invalid prefix id a b, must contain only alphanumeric, _ and - and /"},
      {"/etc/passwd", "Invalid prefix id /etc/passwd"},
      {"提示_2", "prefix id \"提示_2\" not found"},
      {"“a”",
       "Invalid prefix id “a”, must contain only alphanumeric, _ and - and /"},
  };
  for (const UnknownCase& row : cases) {
    EXPECT_THAT(
        store_->Find(row.id),
        StatusIs(kInvalid, StrCat("can't retrieve prompt prefix with id '",
                                  row.id, "': ", row.cause)));
  }
  EXPECT_EQ(num_loaded_, 0);
}

TEST_F(PrefixStoreTest, AFileThatDoesNotFitSaysSoWithoutItsPath) {
  Write("long.safetensors", PrefixFileBytes(101));
  EXPECT_THAT(store_->Find("long"),
              StatusIs(kInvalid,
                       "can't retrieve prompt prefix with id 'long': Invalid "
                       "prefix embedding length of 101"));
  Write("broken.safetensors", "not at all");
  EXPECT_THAT(
      store_->Find("broken"),
      StatusIs(kInvalid, HasSubstr("'broken': broken.safetensors: header")));
  Write("large.safetensors", PrefixFileBytes(150));
  EXPECT_THAT(store_->Find("large"),
              StatusIs(kInvalid, HasSubstr("bytes, at most 1000")));
  Write("pointer.safetensors",
        "version https://git-lfs.github.com/spec/v1\nsize 7\n");
  EXPECT_THAT(store_->Find("pointer"),
              StatusIs(kInvalid, HasSubstr("cannot be read")));
  for (const char* id : {"long", "broken", "large", "pointer"}) {
    EXPECT_THAT(store_->Find(id),
                StatusIs(kInvalid, Not(HasSubstr(folder_.path()))));
  }
}

TEST_F(PrefixStoreTest, AFileIsReadOnceUntilItIsReplaced) {
  Write("a.safetensors", PrefixFileBytes(3, 1.0f));
  const SharedPrefix first = Find("a");
  EXPECT_EQ(Find("a"), first);
  EXPECT_EQ(num_loaded_, 1);
  Write("a.safetensors", PrefixFileBytes(4, 2.0f));
  const SharedPrefix second = Find("a");
  EXPECT_EQ(second->num_tokens, 4);
  EXPECT_EQ(first->num_tokens, 3) << "who has it keeps it";
  EXPECT_EQ(num_loaded_, 2);
  std::filesystem::remove(folder_.path() + "/store/a.safetensors");
  EXPECT_THAT(store_->Find("a"), Not(IsOk()));
}

TEST_F(PrefixStoreTest, TheLeastRecentlyUsedLeavesWhenThereIsNoRoom) {
  // 400 bytes each, where 1000 are kept.
  for (const char* id : {"a", "b", "c"}) {
    Write(StrCat(id, ".safetensors"), PrefixFileBytes(50));
  }
  ASSERT_NE(Find("a"), nullptr);
  ASSERT_NE(Find("b"), nullptr);
  ASSERT_NE(Find("a"), nullptr);
  ASSERT_NE(Find("c"), nullptr);
  EXPECT_EQ(num_loaded_, 3);
  ASSERT_NE(Find("a"), nullptr);
  EXPECT_EQ(num_loaded_, 3) << "a was used after b";
  ASSERT_NE(Find("b"), nullptr);
  EXPECT_EQ(num_loaded_, 4);
}

TEST(PrefixStoreWithoutRootTest, KnowsNoPrefix) {
  PrefixStore store({});
  EXPECT_THAT(store.Find("team/tuned_1-a"),
              StatusIs(kInvalid,
                       "can't retrieve prompt prefix with id 'team/tuned_1-a': "
                       "prefix id \"team/tuned_1-a\" not found"));
  EXPECT_THAT(store.Find(""), IsOk());
}

}  // namespace
}  // namespace drover
