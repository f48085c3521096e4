#include "server/client/bench/report_format.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "base/strings.h"

namespace drover::bench {
namespace {

// Further ones are only counted.
constexpr size_t kMaxFailureLines = 5;

double Millis(absl::Duration duration) {
  return absl::ToDoubleMilliseconds(duration);
}

std::string LatencyLine(const char* name, const Summary& summary) {
  if (summary.count == 0) return absl::StrFormat("%-6s       -\n", name);
  return absl::StrFormat("%-6s %10.2f %10.2f %10.2f %10.2f %10.2f\n", name,
                         Millis(summary.mean), Millis(summary.p50),
                         Millis(summary.p90), Millis(summary.p99),
                         Millis(summary.max));
}

std::string FailureLines(const Report& report) {
  std::string lines;
  const size_t num_shown = std::min(report.failures.size(), kMaxFailureLines);
  for (size_t i = 0; i < num_shown; ++i) {
    const Report::Failure& failure = report.failures[i];
    lines += absl::StrFormat("  %d x %s\n", failure.count, failure.what);
  }
  if (num_shown < report.failures.size()) {
    lines += absl::StrFormat("  and %d other kinds\n",
                             report.failures.size() - num_shown);
  }
  return lines;
}

std::string GoodputLine(const Report& report) {
  if (!report.num_good.has_value()) return "";
  return absl::StrFormat("goodput       %d requests in limits, %.2f per s\n",
                         *report.num_good, *report.goodput);
}

// A reader must know when a gap is more than one token's.
std::string MergeNote(const Report& report) {
  if (report.num_merged_messages == 0) return "";
  return absl::StrFormat(
      "note: %d of %d messages carried several tokens; ITL is the gap between "
      "messages\n",
      report.num_merged_messages, report.num_messages);
}

}  // namespace

std::string DescribeRun(const BenchOptions& options) {
  const std::string load =
      options.rate.has_value()
          ? absl::StrFormat("%g per second%s", *options.rate,
                            options.evenly ? " evenly" : "")
          : absl::StrFormat("%d at once", options.streams);
  const std::string input =
      options.prompt_file.empty()
          ? StrCat(options.input_len.ToString(), " tokens")
          : StrCat("lines of ", options.prompt_file);
  return StrCat(options.name, " of ", options.address, ": ",
                options.num_requests, " requests, ", load, ", ", input, " in, ",
                options.output_len.ToString(), " tokens out, seed ",
                options.seed, options.full_sampling ? ", full sampling" : "");
}

std::string FormatTable(const BenchOptions& options, const Report& report) {
  std::string table = StrCat(DescribeRun(options), "\n\n");
  absl::StrAppendFormat(
      &table, "requests      %d completed, %d failed in %.2f s, %.2f per s\n",
      report.num_completed, report.num_failed,
      absl::ToDoubleSeconds(report.duration), report.request_rate);
  table += FailureLines(report);
  absl::StrAppendFormat(&table, "output        %d tokens, %.1f per s\n",
                        report.num_output_tokens, report.output_token_rate);
  absl::StrAppendFormat(&table, "with prompts  %d tokens, %.1f per s\n",
                        report.num_input_tokens + report.num_output_tokens,
                        report.total_token_rate);
  table += GoodputLine(report);
  absl::StrAppendFormat(&table, "\n%-6s %10s %10s %10s %10s %10s\n", "ms",
                        "mean", "p50", "p90", "p99", "max");
  table += LatencyLine("TTFT", report.ttft);
  table += LatencyLine("TPOT", report.tpot);
  table += LatencyLine("ITL", report.itl);
  table += LatencyLine("E2E", report.e2e);
  return table + MergeNote(report);
}

std::string FormatTableHead(const BenchOptions& options) {
  return absl::StrFormat(
      "%s tokens in, %s out, one request at a time, %d of each model, random "
      "weights\n\n%-12s %12s %12s %12s %12s %12s\n",
      options.input_len.ToString(), options.output_len.ToString(),
      options.num_requests, "ms", "TTFT p50", "TPOT p50", "ITL p99", "E2E p50",
      "tokens/s");
}

std::string FormatTableRow(const TableRow& row) {
  if (!row.report.has_value()) {
    return absl::StrFormat("%-12s does not fit: %s\n", row.model,
                           row.does_not_fit);
  }
  const Report& report = *row.report;
  return absl::StrFormat("%-12s %12.2f %12.3f %12.2f %12.1f %12.1f\n",
                         row.model, Millis(report.ttft.p50),
                         Millis(report.tpot.p50), Millis(report.itl.p99),
                         Millis(report.e2e.p50), report.output_token_rate);
}

}  // namespace drover::bench
