#include "server/hub_cache.h"

#include <filesystem>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/client/download_weights_command.h"
#include "tests/testing/scoped_environment.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::drover::testing::ScopedEnvironment;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A cache with commit "c0ffee" of org/small, which is its main, and "beef",
// which no name stands for.
class HubCacheTest : public ::testing::Test {
 protected:
  HubCacheTest() {
    for (const char* folder : {"refs", "snapshots/c0ffee", "snapshots/beef"}) {
      std::filesystem::create_directories(Repository() + folder);
    }
    cache_.Write("models--org--small/refs/main", "c0ffee");
  }

  std::string Repository() const {
    return cache_.path() + "/models--org--small/";
  }
  absl::StatusOr<std::string> Find(const std::string& model,
                                   const std::string& revision = "") const {
    return FindModelFolder(model, revision, cache_.path());
  }

  const TempDir cache_;
};

TEST_F(HubCacheTest, AnIdIsTheSnapshotOfItsRevision) {
  EXPECT_EQ(*Find("org/small"), Repository() + "snapshots/c0ffee");
  EXPECT_EQ(*Find("org/small", "main"), Repository() + "snapshots/c0ffee");
  EXPECT_EQ(*Find("org/small", "beef"), Repository() + "snapshots/beef");
}

TEST_F(HubCacheTest, AFolderIsItself) {
  EXPECT_EQ(*Find(cache_.path()), cache_.path());
}

TEST_F(HubCacheTest, WhatIsNotThereIsSaidToHaveBeenLookedFor) {
  EXPECT_THAT(Find("org/small", "v2"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("org/small"),
                             HasSubstr(Repository() + "snapshots/v2"),
                             HasSubstr("not downloaded"))));
  EXPECT_THAT(Find("org/other"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr(cache_.path() + "/models--org--other")));
  for (const char* no_id : {"/org/small", "./small", "a/b/c", "org/../small"}) {
    EXPECT_THAT(Find(no_id), StatusIs(absl::StatusCode::kNotFound,
                                      HasSubstr("no such folder")));
  }
}

TEST_F(HubCacheTest, ASnapshotIsCalledByItsId) {
  EXPECT_EQ(ModelName(Repository() + "snapshots/c0ffee"), "org/small");
  EXPECT_EQ(ModelName(Repository() + "refs/"), "refs");
}

TEST(HubCacheFolderTest, TheFirstVariableThatIsSetDecides) {
  const ScopedEnvironment home("HOME", "/home/me");
  const ScopedEnvironment none[] = {{"HF_HUB_CACHE", ""},
                                    {"HUGGINGFACE_HUB_CACHE", ""},
                                    {"TRANSFORMERS_CACHE", ""},
                                    {"HF_HOME", ""}};
  EXPECT_EQ(HubCacheFolder(), "/home/me/.cache/huggingface/hub");
  const ScopedEnvironment hugging("HF_HOME", "/h");
  EXPECT_EQ(HubCacheFolder(), "/h/hub");
  const ScopedEnvironment transformers("TRANSFORMERS_CACHE", "/t");
  EXPECT_EQ(HubCacheFolder(), "/t");
  const ScopedEnvironment old("HUGGINGFACE_HUB_CACHE", "/o");
  EXPECT_EQ(HubCacheFolder(), "/o");
  const ScopedEnvironment hub("HF_HUB_CACHE", "/c");
  EXPECT_EQ(HubCacheFolder(), "/c");
}

TEST(DownloadWeightsTest, WeightsThatAreHereAreEnough) {
  std::istringstream in;
  std::ostringstream out, err;
  EXPECT_EQ(RunDownloadWeights({.model = DROVER_SOURCE_DIR "/models/fables-7m"},
                               {in, out, err}),
            0);
  EXPECT_THAT(out.str(), HasSubstr("models/fables-7m\n"));
}

TEST(DownloadWeightsTest, WeightsThatAreMissingAreNotFetched) {
  const TempDir folder;
  for (const std::string& model : {folder.path(), std::string("org/missing")}) {
    std::istringstream in;
    std::ostringstream out, err;
    EXPECT_EQ(RunDownloadWeights({.model = model}, {in, out, err}), 1);
    EXPECT_THAT(err.str(), AllOf(HasSubstr("weights are not downloaded: "),
                                 HasSubstr(model)));
  }
}

}  // namespace
}  // namespace drover
