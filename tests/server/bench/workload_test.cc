#include "server/client/bench/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/testing/status_matchers.h"

namespace drover::bench {
namespace {

using ::testing::HasSubstr;

constexpr RequestShape kShape{
    .input_len = {2, 9}, .output_len = {1, 4}, .num_requests = 50, .seed = 3};

std::vector<std::string> Prompts(const std::vector<BenchRequest>& requests) {
  std::vector<std::string> prompts;
  for (const BenchRequest& request : requests) {
    prompts.push_back(request.prompt);
  }
  return prompts;
}

TEST(Workload, PromptsHaveAsManyWordsAsTokensAreWanted) {
  const auto requests = MakeRandomRequests(kShape);
  ASSERT_EQ(requests.size(), 50u);
  for (const BenchRequest& request : requests) {
    EXPECT_GE(request.input_len, 2);
    EXPECT_LE(request.input_len, 9);
    EXPECT_GE(request.output_len, 1);
    EXPECT_LE(request.output_len, 4);
    EXPECT_EQ(std::count(request.prompt.begin(), request.prompt.end(), ' '),
              request.input_len - 1);
  }
}

TEST(Workload, IsTheSameForTheSameSeedOnly) {
  RequestShape other = kShape;
  other.seed = 4;
  const auto prompts = Prompts(MakeRandomRequests(kShape));
  EXPECT_EQ(prompts, Prompts(MakeRandomRequests(kShape)));
  EXPECT_NE(prompts, Prompts(MakeRandomRequests(other)));
}

TEST(Workload, AllAskForFullSamplingOrNone) {
  for (const bool full_sampling : {false, true}) {
    RequestShape shape = kShape;
    shape.full_sampling = full_sampling;
    auto requests = MakeRandomRequests(shape);
    const auto lines = MakeRequestsFromLines("one\ntwo\n", shape);
    ASSERT_THAT(lines, IsOk());
    requests.insert(requests.end(), lines->begin(), lines->end());
    for (const BenchRequest& request : requests) {
      EXPECT_EQ(request.full_sampling, full_sampling);
    }
  }
}

TEST(Workload, TakesLinesInTurn) {
  RequestShape shape = kShape;
  shape.num_requests = 5;
  const auto requests = MakeRequestsFromLines("one\r\n\ntwo words\n", shape);
  ASSERT_THAT(requests, IsOk());
  EXPECT_THAT(
      Prompts(*requests),
      ::testing::ElementsAre("one", "two words", "one", "two words", "one"));
  EXPECT_EQ(requests->front().input_len, 0);
}

TEST(Workload, RefusesAFileWithoutALine) {
  EXPECT_THAT(
      MakeRequestsFromLines("\n\r\n", kShape),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no prompt")));
}

TEST(MakeRequestsFromLines, NamesThePromptThatIsNotUtf8) {
  EXPECT_THAT(MakeRequestsFromLines("one\n\n\xff\xfe\n", kShape),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("prompt 2 of 2 is not UTF-8")));
}

TEST(PoissonArrivals, BeginAtOnceAndKeepTheRate) {
  const auto arrivals = PoissonArrivals(/*rate=*/100, 20'000, /*seed=*/1);
  ASSERT_EQ(arrivals.size(), 20'000u);
  EXPECT_EQ(arrivals.front(), absl::ZeroDuration());
  EXPECT_TRUE(std::is_sorted(arrivals.begin(), arrivals.end()));
  // 200 s are expected, with a standard deviation of 1.4 s.
  EXPECT_NEAR(absl::ToDoubleSeconds(arrivals.back()), 200, 7);
}

TEST(PoissonArrivals, HaveExponentialGaps) {
  const auto arrivals = PoissonArrivals(/*rate=*/1, 20'001, /*seed=*/2);
  int num_long = 0;
  for (size_t i = 1; i < arrivals.size(); ++i) {
    if (arrivals[i] - arrivals[i - 1] > absl::Seconds(1)) ++num_long;
  }
  // One in e is longer than the mean: 7358, standard deviation 68.
  EXPECT_NEAR(num_long, 7358, 340);
}

TEST(PoissonArrivals, AreTheSameForTheSameSeedOnly) {
  EXPECT_EQ(PoissonArrivals(5, 20, 1), PoissonArrivals(5, 20, 1));
  EXPECT_NE(PoissonArrivals(5, 20, 1), PoissonArrivals(5, 20, 2));
}

TEST(EvenArrivals, BeginAtOnceAndAreEquallyFarApart) {
  EXPECT_THAT(
      EvenArrivals(/*rate=*/4, 3),
      ::testing::ElementsAre(absl::ZeroDuration(), absl::Milliseconds(250),
                             absl::Milliseconds(500)));
}

}  // namespace
}  // namespace drover::bench
