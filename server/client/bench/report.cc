#include "server/client/bench/report.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/strings.h"

namespace drover::bench {
namespace {

std::vector<Report::Failure> CountFailures(
    const std::vector<StreamRecord>& records) {
  std::map<std::string, int64_t> counts;
  for (const StreamRecord& record : records) {
    if (!record.status.ok()) ++counts[record.status.ToString()];
  }
  std::vector<Report::Failure> failures;
  failures.reserve(counts.size());
  for (const auto& [what, count] : counts) failures.push_back({what, count});
  std::stable_sort(
      failures.begin(), failures.end(),
      [](const auto& a, const auto& b) { return a.count > b.count; });
  return failures;
}

struct Latencies {
  std::vector<absl::Duration> ttft;
  std::vector<absl::Duration> tpot;
  std::vector<absl::Duration> itl;
  std::vector<absl::Duration> e2e;

  void Add(const StreamLatency& latency) {
    ttft.push_back(latency.ttft);
    if (latency.tpot.has_value()) tpot.push_back(*latency.tpot);
    itl.insert(itl.end(), latency.itl.begin(), latency.itl.end());
    e2e.push_back(latency.e2e);
  }
};

void AddCounts(const StreamRecord& record, Report& report) {
  ++report.num_completed;
  report.num_input_tokens += record.num_input_tokens;
  report.num_output_tokens += record.num_output_tokens;
  report.num_messages += static_cast<int64_t>(record.token_times.size());
  report.num_merged_messages += record.num_merged_messages;
}

void FillRates(Report& report) {
  const double seconds = absl::ToDoubleSeconds(report.duration);
  const auto per_second = [seconds](int64_t count) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0;
  };
  report.request_rate = per_second(report.num_completed);
  report.output_token_rate = per_second(report.num_output_tokens);
  report.total_token_rate =
      per_second(report.num_input_tokens + report.num_output_tokens);
  if (report.num_good.has_value()) {
    report.goodput = per_second(*report.num_good);
  }
}

}  // namespace

Report MakeReport(const std::vector<StreamRecord>& records,
                  absl::Duration duration,
                  const std::optional<GoodputLimits>& limits) {
  Report report{.failures = CountFailures(records), .duration = duration};
  Latencies latencies;
  int64_t num_good = 0;
  for (const StreamRecord& record : records) {
    if (!record.status.ok()) {
      ++report.num_failed;
      continue;
    }
    AddCounts(record, report);
    const StreamLatency latency = LatencyOf(record);
    latencies.Add(latency);
    if (limits.has_value() && limits->IsMetBy(latency)) ++num_good;
  }
  if (limits.has_value()) report.num_good = num_good;
  FillRates(report);
  report.ttft = Summarize(std::move(latencies.ttft));
  report.tpot = Summarize(std::move(latencies.tpot));
  report.itl = Summarize(std::move(latencies.itl));
  report.e2e = Summarize(std::move(latencies.e2e));
  return report;
}

}  // namespace drover::bench
