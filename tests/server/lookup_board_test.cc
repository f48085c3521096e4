#include "server/lookup_board.h"

#include <memory>
#include <string>
#include <vector>

#include "base/strings.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Each test is all the threads at once.
class LookupBoardTest : public ::testing::Test {
 protected:
  static constexpr absl::Duration kSoon = absl::Milliseconds(1);

  void Ask(LookupBoard& board, const std::string& id, const std::string& name) {
    const auto done = [this, name](const absl::StatusOr<SharedPrefix>& prefix) {
      told_.push_back(StrCat(name, ": ",
                             prefix.ok()
                                 ? (*prefix)->rows
                                 : std::string(prefix.status().message())));
    };
    ASSERT_THAT(board.Ask(id, done), IsOk());
  }

  // Waits for news; who was told what.
  std::vector<std::string> News(LookupBoard& board) {
    told_.clear();
    for (LookupBoard::Answer& answer : board.AwaitNews().answers) {
      answer.done(std::move(answer.prefix));
    }
    return told_;
  }

  static FoundPrefix Found(const std::string& rows) {
    PromptPrefix prefix;
    prefix.rows = rows;
    return {.prefix = std::make_shared<const PromptPrefix>(prefix)};
  }

  static std::string TooLate(const std::string& id) {
    return StrCat("can't retrieve prompt prefix with id '", id,
                  "': no answer from the prefix store within 1ms");
  }

 private:
  std::vector<std::string> told_;
};

TEST_F(LookupBoardTest, IdsAreLookedUpOnceInTheOrderInWhichTheyWereAsked) {
  LookupBoard board(absl::InfiniteDuration(), /*num_threads=*/1);
  Ask(board, "b", "first");
  Ask(board, "a", "second");
  Ask(board, "b", "third");
  EXPECT_EQ(board.Take(0), "b");
  EXPECT_TRUE(board.IsBusy(0));
  board.Report(0, "b", Found("rows of b"));
  EXPECT_FALSE(board.IsBusy(0));
  EXPECT_THAT(News(board), ElementsAre("first: rows of b", "third: rows of b"));
  EXPECT_EQ(board.Take(0), "a");
  board.Report(0, "a", absl::InternalError("broken"));
  EXPECT_THAT(News(board), ElementsAre("second: broken"));
}

TEST_F(LookupBoardTest, WhatHangsIsNotLookedUpAgain) {
  LookupBoard board(kSoon, /*num_threads=*/2);
  Ask(board, "hung", "first");
  EXPECT_EQ(board.Take(0), "hung");
  EXPECT_THAT(News(board), ElementsAre("first: " + TooLate("hung")));
  Ask(board, "hung", "second");
  EXPECT_THAT(News(board), ElementsAre("second: " + TooLate("hung")));
  Ask(board, "hung", "third");
  Ask(board, "b", "fourth");
  EXPECT_EQ(board.Take(1), "b");
  EXPECT_TRUE(board.IsBusy(0));
  // Came back after all.
  board.Report(0, "hung", Found("rows"));
  EXPECT_THAT(News(board), ElementsAre("third: rows"));
  Ask(board, "hung", "fifth");
  EXPECT_EQ(board.Take(0), "hung");
}

TEST_F(LookupBoardTest, WhatNobodyWaitsForAnyMoreIsNotLookedUp) {
  LookupBoard board(kSoon, /*num_threads=*/1);
  Ask(board, "a", "first");
  EXPECT_THAT(News(board), ElementsAre("first: " + TooLate("a")));
  Ask(board, "b", "second");
  EXPECT_EQ(board.Take(0), "b");
}

TEST_F(LookupBoardTest, TheEndTellsWhoWaitsAndTakesNobodyMore) {
  LookupBoard board(absl::InfiniteDuration(), /*num_threads=*/2);
  Ask(board, "hung", "first");
  EXPECT_EQ(board.Take(0), "hung");
  Ask(board, "a", "second");
  board.End();
  EXPECT_THAT(News(board), ElementsAre("first: the server is shutting down",
                                       "second: the server is shutting down"));
  EXPECT_THAT(board.Ask("a", nullptr), StatusIs(absl::StatusCode::kUnavailable,
                                                "the server is shutting down"));
  EXPECT_EQ(board.Take(1), std::nullopt);
  EXPECT_TRUE(board.IsBusy(0));
  board.Report(0, "hung", Found("rows"));
  EXPECT_EQ(board.Take(0), std::nullopt);
  EXPECT_THAT(News(board), IsEmpty());
}

}  // namespace
}  // namespace drover
