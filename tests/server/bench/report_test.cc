#include "server/client/bench/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "server/client/bench/report_format.h"
#include "server/client/bench/report_json.h"

namespace drover::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

absl::Time At(int64_t millis) {
  return absl::UnixEpoch() + absl::Milliseconds(millis);
}

// Two streams that went well and three that did not, within two seconds.
std::vector<StreamRecord> Records() {
  return {
      {.sent_at = At(0),
       .token_times = {At(100), At(110), At(120)},
       .num_input_tokens = 8,
       .num_output_tokens = 3},
      {.sent_at = At(0), .status = absl::UnavailableError("gone")},
      {.sent_at = At(0),
       .token_times = {At(300), At(360)},
       .num_input_tokens = 6,
       .num_output_tokens = 3,
       .num_merged_messages = 1},
      {.sent_at = At(0), .status = absl::InternalError("short")},
      {.sent_at = At(0),
       .token_times = {At(1)},
       .num_input_tokens = 99,
       .num_output_tokens = 1,
       .status = absl::UnavailableError("gone")},
  };
}

constexpr absl::Duration kDuration = absl::Seconds(2);

TEST(Report, CountsCompletedRequestsOnly) {
  const Report report = MakeReport(Records(), kDuration, std::nullopt);
  EXPECT_EQ(report.num_completed, 2);
  EXPECT_EQ(report.num_failed, 3);
  EXPECT_EQ(report.num_input_tokens, 14);
  EXPECT_EQ(report.num_output_tokens, 6);
  EXPECT_DOUBLE_EQ(report.request_rate, 1);
  EXPECT_DOUBLE_EQ(report.output_token_rate, 3);
  EXPECT_DOUBLE_EQ(report.total_token_rate, 10);
  EXPECT_EQ(report.num_good, std::nullopt);
}

TEST(Report, SummarisesTheLatenciesOfAllRequestsTogether) {
  const Report report = MakeReport(Records(), kDuration, std::nullopt);
  EXPECT_EQ(report.ttft.count, 2);
  EXPECT_EQ(report.ttft.mean, absl::Milliseconds(200));
  EXPECT_EQ(report.tpot.mean, absl::Milliseconds(20));  // 10 and 30
  EXPECT_EQ(report.itl.count, 3);
  EXPECT_EQ(report.itl.p50, absl::Milliseconds(10));  // 10, 10 and 60
  EXPECT_EQ(report.e2e.max, absl::Milliseconds(360));
}

TEST(Report, GoodputCountsWhatMeetsTheLimits) {
  const GoodputLimits limits{.ttft = absl::Milliseconds(200)};
  const Report report = MakeReport(Records(), kDuration, limits);
  EXPECT_EQ(report.num_good, 1);
  EXPECT_DOUBLE_EQ(report.goodput.value(), 0.5);
}

TEST(Report, NamesFailuresTheMostFrequentFirst) {
  const Report report = MakeReport(Records(), kDuration, std::nullopt);
  ASSERT_EQ(report.failures.size(), 2u);
  EXPECT_THAT(report.failures[0].what, HasSubstr("gone"));
  EXPECT_EQ(report.failures[0].count, 2);
  EXPECT_THAT(report.failures[1].what, HasSubstr("short"));
}

TEST(Report, OfNothingButFailuresHasNoLatency) {
  const Report report = MakeReport({{.status = absl::UnavailableError("gone")}},
                                   kDuration, std::nullopt);
  EXPECT_EQ(report.num_completed, 0);
  EXPECT_EQ(report.ttft.count, 0);
  EXPECT_DOUBLE_EQ(report.output_token_rate, 0);
  EXPECT_THAT(FormatTable(BenchOptions::Latency(), report),
              HasSubstr("0 completed, 1 failed"));
}

TEST(ReportTable, SaysThatMessagesWereMergedOnlyIfTheyWere) {
  std::vector<StreamRecord> records = Records();
  const BenchOptions options = BenchOptions::Throughput();
  EXPECT_THAT(
      FormatTable(options, MakeReport(records, kDuration, std::nullopt)),
      HasSubstr("1 of 5 messages carried several tokens"));
  records.resize(1);
  EXPECT_THAT(
      FormatTable(options, MakeReport(records, kDuration, std::nullopt)),
      Not(HasSubstr("several tokens")));
}

TEST(ReportTable, ShowsLatenciesInMilliseconds) {
  const std::string table =
      FormatTable(BenchOptions::Throughput(),
                  MakeReport(Records(), kDuration, std::nullopt));
  EXPECT_THAT(table, ::testing::ContainsRegex("TTFT +200.00 +200.00"));
  EXPECT_THAT(table, HasSubstr("2 x UNAVAILABLE: gone"));
  EXPECT_THAT(table, HasSubstr("6 tokens, 3.0 per s"));
}

TEST(ReportJson, HoldsOptionsAndResults) {
  BenchOptions options = BenchOptions::Throughput();
  options.rate = 2.5;
  options.goodput = GoodputLimits{.ttft = absl::Milliseconds(200)};
  const auto json = nlohmann::json::parse(
      FormatJson(options, MakeReport(Records(), kDuration, options.goodput)));
  EXPECT_EQ(json["benchmark"], "throughput");
  EXPECT_EQ(json["rate_per_s"], 2.5);
  EXPECT_EQ(json["arrivals"], "poisson");
  EXPECT_FALSE(json.contains("streams"));
  EXPECT_EQ(json["input_len"], nlohmann::json({128, 128}));
  EXPECT_EQ(json["goodput_limits_ms"], nlohmann::json({{"ttft", 200.0}}));
  EXPECT_EQ(json["completed"], 2);
  EXPECT_EQ(json["failures"][0]["count"], 2);
  EXPECT_EQ(json["output_tokens_per_s"], 3.0);
  EXPECT_EQ(json["goodput_per_s"], 0.5);
  EXPECT_EQ(json["ttft_ms"]["mean"], 200.0);
  EXPECT_EQ(json["itl_ms"]["count"], 3);
}

TEST(ReportRecords, AreALineForEachRequestInItsOrder) {
  std::istringstream lines(FormatRecords(Records()));
  std::vector<nlohmann::json> records;
  for (std::string line; std::getline(lines, line);) {
    records.push_back(nlohmann::json::parse(line));
  }
  ASSERT_EQ(records.size(), 5u);
  EXPECT_EQ(records[0]["status"], "OK");
  EXPECT_EQ(records[0]["input_tokens"], 8);
  EXPECT_EQ(records[0]["token_times_s"], nlohmann::json({0.1, 0.11, 0.12}));
  EXPECT_EQ(records[1]["status"], "UNAVAILABLE: gone");
  EXPECT_EQ(records[1]["token_times_s"], nlohmann::json::array());
}

}  // namespace
}  // namespace drover::bench
