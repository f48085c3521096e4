#include "server/client/bench/report_format.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "base/strings.h"

namespace drover::bench {
namespace {

using Json = nlohmann::ordered_json;

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

Json ToJson(const Summary& summary) {
  return {{"count", summary.count},     {"mean", Millis(summary.mean)},
          {"p50", Millis(summary.p50)}, {"p90", Millis(summary.p90)},
          {"p99", Millis(summary.p99)}, {"max", Millis(summary.max)}};
}

Json ToJson(const LengthRange& range) { return {range.min, range.max}; }

void AddLimit(const char* name, const std::optional<absl::Duration>& limit,
              Json& object) {
  if (limit.has_value()) object[name] = Millis(*limit);
}

Json OptionsToJson(const BenchOptions& options) {
  Json json = {{"benchmark", options.name},
               {"address", options.address},
               {"num_requests", options.num_requests},
               {"warmup", options.warmup}};
  if (options.rate.has_value()) {
    json["rate_per_s"] = *options.rate;
    json["arrivals"] = options.evenly ? "even" : "poisson";
  } else {
    json["streams"] = options.streams;
  }
  if (options.prompt_file.empty()) {
    json["input_len"] = ToJson(options.input_len);
  } else {
    json["prompt_file"] = options.prompt_file;
  }
  json["output_len"] = ToJson(options.output_len);
  json["seed"] = options.seed;
  if (options.goodput.has_value()) {
    Json& limits = json["goodput_limits_ms"] = Json::object();
    AddLimit("ttft", options.goodput->ttft, limits);
    AddLimit("tpot", options.goodput->tpot, limits);
    AddLimit("e2e", options.goodput->e2e, limits);
  }
  return json;
}

// Of the machine's steady clock, which every process reads alike.
double MonotonicSeconds(absl::Time time) {
  return absl::ToDoubleSeconds(time - absl::UnixEpoch());
}

// A path or a server's message may be no UTF-8.
std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false,
                   Json::error_handler_t::replace) +
         "\n";
}

Json FailuresToJson(const Report& report) {
  Json failures = Json::array();
  for (const Report::Failure& failure : report.failures) {
    failures.push_back({{"what", failure.what}, {"count", failure.count}});
  }
  return failures;
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
                options.seed);
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

std::string FormatJson(const BenchOptions& options, const Report& report) {
  Json json = OptionsToJson(options);
  json["drover_version"] = DROVER_VERSION;
  json["completed"] = report.num_completed;
  json["failed"] = report.num_failed;
  json["failures"] = FailuresToJson(report);
  json["duration_s"] = absl::ToDoubleSeconds(report.duration);
  json["input_tokens"] = report.num_input_tokens;
  json["output_tokens"] = report.num_output_tokens;
  json["messages"] = report.num_messages;
  json["merged_messages"] = report.num_merged_messages;
  json["requests_per_s"] = report.request_rate;
  json["output_tokens_per_s"] = report.output_token_rate;
  json["total_tokens_per_s"] = report.total_token_rate;
  if (report.num_good.has_value()) {
    json["good_requests"] = *report.num_good;
    json["goodput_per_s"] = *report.goodput;
  }
  json["ttft_ms"] = ToJson(report.ttft);
  json["tpot_ms"] = ToJson(report.tpot);
  json["itl_ms"] = ToJson(report.itl);
  json["e2e_ms"] = ToJson(report.e2e);
  return Dump(json, /*indent=*/2);
}

std::string FormatRecords(const std::vector<StreamRecord>& records) {
  std::string lines;
  for (const StreamRecord& record : records) {
    Json times = Json::array();
    for (const absl::Time time : record.token_times) {
      times.push_back(MonotonicSeconds(time));
    }
    const Json json = {{"status", record.status.ToString()},
                       {"sent_at_s", MonotonicSeconds(record.sent_at)},
                       {"input_tokens", record.num_input_tokens},
                       {"output_tokens", record.num_output_tokens},
                       {"token_times_s", std::move(times)}};
    lines += Dump(json, /*indent=*/-1);
  }
  return lines;
}

}  // namespace drover::bench
