#include "server/client/bench/report_json.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/time/time.h"

namespace drover::bench {
namespace {

using Json = nlohmann::ordered_json;

double Millis(absl::Duration duration) {
  return absl::ToDoubleMilliseconds(duration);
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
  Json json = {{"benchmark", options.table ? "latency table" : options.name},
               {"num_requests", options.num_requests},
               {"warmup", options.warmup}};
  if (!options.table) json["address"] = options.address;
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
  if (options.full_sampling) json["full_sampling"] = true;
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

void AddReport(const Report& report, Json& json) {
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
}

}  // namespace

std::string FormatJson(const BenchOptions& options, const Report& report) {
  Json json = OptionsToJson(options);
  json["drover_version"] = DROVER_VERSION;
  AddReport(report, json);
  return Dump(json, /*indent=*/2);
}

std::string FormatTableJson(const BenchOptions& options,
                            const std::vector<TableRow>& rows) {
  Json json = OptionsToJson(options);
  json["drover_version"] = DROVER_VERSION;
  Json& models = json["models"] = Json::array();
  for (const TableRow& row : rows) {
    Json model = {{"model", row.model}, {"fits", row.report.has_value()}};
    if (row.report.has_value()) {
      AddReport(*row.report, model);
    } else {
      model["reason"] = row.does_not_fit;
    }
    models.push_back(std::move(model));
  }
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
