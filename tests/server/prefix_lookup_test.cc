#include "server/prefix_lookup.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

// A file system of which the test decides what hangs. Outlives lookups, as
// their threads share it.
class FakeFiles {
 public:
  // Ids that begin with "hung" wait for Release.
  absl::StatusOr<FoundPrefix> Find(const std::string& id) {
    absl::MutexLock lock(&mutex_);
    asked_.push_back(id);
    if (id.rfind("hung", 0) == 0) {
      ++num_hanging_;
      mutex_.Await(absl::Condition(&released_));
      --num_hanging_;
    }
    PromptPrefix prefix;
    prefix.rows = id;
    return FoundPrefix{.prefix = std::make_shared<const PromptPrefix>(prefix),
                       .load_time = absl::Seconds(7)};
  }

  void Release() {
    absl::MutexLock lock(&mutex_);
    released_ = true;
  }
  void AwaitHanging(int count) {
    const auto hang = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return num_hanging_ == count;
    };
    absl::MutexLock lock(&mutex_, absl::Condition(&hang));
  }
  std::vector<std::string> asked() const {
    absl::MutexLock lock(&mutex_);
    return asked_;
  }

 private:
  mutable absl::Mutex mutex_;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  int num_hanging_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> asked_ ABSL_GUARDED_BY(mutex_);
};

// What somebody who asked was told. Shared with the lookup.
class Reply {
 public:
  void Set(absl::StatusOr<SharedPrefix> prefix) {
    prefix_ = std::move(prefix);
    told_.Notify();
  }
  // Waits. What FakeFiles found, which has the id for rows.
  absl::StatusOr<std::string> Rows() {
    told_.WaitForNotification();
    if (!prefix_.ok()) return prefix_.status();
    return *prefix_ == nullptr ? "none" : (*prefix_)->rows;
  }
  bool told() const { return told_.HasBeenNotified(); }

 private:
  absl::Notification told_;
  absl::StatusOr<SharedPrefix> prefix_;
};

class PrefixLookupTest : public ::testing::Test {
 protected:
  ~PrefixLookupTest() override { files_->Release(); }

  void Start(absl::Duration limit, int num_threads = 8) {
    lookup_ = std::make_unique<PrefixLookup>(PrefixLookup::Options{
        .find = [files =
                     files_](const std::string& id) { return files->Find(id); },
        .limit = limit,
        .num_threads = num_threads,
        .on_loaded =
            [this](absl::Duration time) { load_times_.push_back(time); }});
  }

  std::shared_ptr<Reply> Ask(const std::string& id) {
    auto reply = std::make_shared<Reply>();
    lookup_->Find(id, [reply](absl::StatusOr<SharedPrefix> prefix) {
      reply->Set(std::move(prefix));
    });
    return reply;
  }

  const std::shared_ptr<FakeFiles> files_ = std::make_shared<FakeFiles>();
  std::vector<absl::Duration> load_times_;
  std::unique_ptr<PrefixLookup> lookup_;
};

TEST_F(PrefixLookupTest, TellsWhatTheStoreFindsAndHowLongItTook) {
  Start(absl::InfiniteDuration());
  EXPECT_EQ(*Ask("a")->Rows(), "a");
  EXPECT_EQ(*Ask("b")->Rows(), "b");
  lookup_ = nullptr;
  EXPECT_THAT(load_times_, ElementsAre(absl::Seconds(7), absl::Seconds(7)));
}

TEST_F(PrefixLookupTest, WhatNeedsNoFileIsToldAtOnce) {
  Start(absl::InfiniteDuration());
  const auto none = Ask("");
  EXPECT_TRUE(none->told());
  EXPECT_EQ(*none->Rows(), "none");
  for (const std::string& id :
       {std::string("../a"), std::string("/a"), std::string(2000, 'x')}) {
    const auto refused = Ask(id);
    EXPECT_TRUE(refused->told());
    EXPECT_THAT(refused->Rows(), StatusIs(kInvalid, HasSubstr("prefix")));
  }
  EXPECT_THAT(files_->asked(), IsEmpty());
}

TEST_F(PrefixLookupTest, WhoWaitedLongEnoughIsToldSo) {
  Start(absl::Milliseconds(1));
  EXPECT_THAT(Ask("hung")->Rows(),
              StatusIs(kInvalid,
                       "can't retrieve prompt prefix with id 'hung': no answer "
                       "from the prefix store within 1ms"));
}

TEST_F(PrefixLookupTest, AllWhoAskForAnIdShareOneLookup) {
  Start(absl::InfiniteDuration());
  const auto first = Ask("hung");
  files_->AwaitHanging(1);
  const auto second = Ask("hung");
  EXPECT_EQ(*Ask("other")->Rows(), "other");
  EXPECT_FALSE(first->told());
  EXPECT_FALSE(second->told());
  files_->Release();
  EXPECT_EQ(*first->Rows(), "hung");
  EXPECT_EQ(*second->Rows(), "hung");
  EXPECT_THAT(files_->asked(), ElementsAre("hung", "other"));
}

TEST_F(PrefixLookupTest, TheEndDoesNotWaitForWhatHangs) {
  Start(absl::InfiniteDuration(), /*num_threads=*/2);
  const auto hung = Ask("hung_1");
  const auto also = Ask("hung_2");
  files_->AwaitHanging(2);
  const auto queued = Ask("a");
  lookup_->End();
  for (const auto& reply : {hung, also, queued, Ask("b")}) {
    EXPECT_THAT(reply->Rows(), StatusIs(absl::StatusCode::kUnavailable,
                                        "the server is shutting down"));
  }
  lookup_ = nullptr;
  files_->AwaitHanging(2);
}

}  // namespace
}  // namespace drover
