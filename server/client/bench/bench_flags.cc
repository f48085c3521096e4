#include "server/client/bench/bench_flags.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "server/client/flag_checks.h"
#include "server/client/tls_flags.h"

namespace drover {
namespace {

template <typename T>
T ValueOrThrow(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  throw CLI::ValidationError(std::string(value.status().message()));
}

CLI::Option* AddLength(CLI::App& app, const std::string& flag,
                       bench::LengthRange& range, const char* help) {
  return app
      .add_option_function<std::string>(
          flag,
          [flag, &range](const std::string& text) {
            range = ValueOrThrow(bench::ParseLengthRange(flag, text));
          },
          help)
      ->type_name("A[:B]")
      ->default_str(range.ToString());
}

// What both have.
void AddSharedFlags(CLI::App& app, BenchOptions& options) {
  app.add_option("--address", options.address,
                 "The gRPC port of any fmaas server")
      ->capture_default_str();
  AddClientTlsFlags(app, options.tls);
  app.add_option("--num-requests", options.num_requests, "Requests to measure")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  app.add_option("--warmup", options.warmup,
                 "Requests before those, not measured")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  AddLength(app, "--output-len", options.output_len,
            "Output tokens, exactly; A:B draws from that range");
  app.add_option("--seed", options.seed,
                 "For the same prompts, lengths and arrivals again")
      ->check(CheckSeed)
      ->capture_default_str();
  app.add_flag("--full-sampling", options.full_sampling,
               "Ask for draws with every filter and a repetition penalty, and "
               "for log-probabilities, instead of greedy choices");
  app.add_option_function<std::string>(
         "--goodput",
         [&options](const std::string& text) {
           options.goodput = ValueOrThrow(bench::ParseGoodputLimits(text));
         },
         "Count the requests within limits, as ttft:200ms,tpot:50ms,e2e:10s")
      ->type_name("LIMITS");
  app.add_option("--json", options.json_file, "Write the report here too")
      ->type_name("FILE");
  app.add_option("--records", options.records_file,
                 "Write what was seen of each request here, a line of JSON "
                 "each")
      ->type_name("FILE");
}

void AddTableFlags(CLI::App& app, BenchOptions& options) {
  CLI::Option* table =
      app.add_flag("--table", options.table,
                   "Instead of one server: start one with each of Llama-2-7B, "
                   "13B and 70B, and print a row each")
          ->excludes(app.get_option("--address"))
          ->excludes(app.get_option("--records"));
  app.add_option_function<std::string>(
         "--serve-options",
         [&options](const std::string& words) {
           options.serve_options =
               absl::StrSplit(words, ' ', absl::SkipEmpty());
         },
         "For --table's servers, as --serve-options='--device=cuda "
         "--dtype=float16'")
      ->type_name("WORDS")
      ->needs(table);
}

void AddThroughputFlags(CLI::App& app, BenchOptions& options,
                        CLI::Option* input_len) {
  CLI::Option* streams =
      app.add_option("--streams", options.streams,
                     "Requests at once; one that ends makes way for the next")
          ->check(CLI::Range(1, 1'000'000))
          ->capture_default_str();
  CLI::Option* rate =
      app.add_option("--rate", options.rate,
                     "Instead: Poisson arrivals, requests per second")
          ->check(CLI::Range(1e-3, 1e6))
          ->excludes(streams);
  app.add_flag("--evenly", options.evenly,
               "With --rate: at equal distances, not at random")
      ->needs(rate);
  app.add_option("--prompt-file", options.prompt_file,
                 "One prompt per line, used in turn")
      ->type_name("FILE")
      ->excludes(input_len);
}

// A subcommand that replaces `chosen` by what it was told.
CLI::App* AddMode(CLI::App& bench, const char* help, BenchOptions& chosen,
                  const std::shared_ptr<BenchOptions>& own) {
  CLI::App* app = bench.add_subcommand(own->name, help);
  app->set_version_flag("--version", std::string("drover ") + DROVER_VERSION);
  AddSharedFlags(*app, *own);
  app->final_callback([own, &chosen] { chosen = *own; });
  return app;
}

}  // namespace

void AddBenchFlags(CLI::App& bench, BenchOptions& options) {
  bench.require_subcommand(1);
  constexpr char kInputLenHelp[] =
      "Prompt tokens, exactly; A:B draws from that range";

  const auto latency = std::make_shared<BenchOptions>(BenchOptions::Latency());
  CLI::App* latency_app =
      AddMode(bench, "One request after the other: how fast is one alone",
              options, latency);
  AddLength(*latency_app, "--input-len", latency->input_len, kInputLenHelp);
  AddTableFlags(*latency_app, *latency);

  const auto throughput =
      std::make_shared<BenchOptions>(BenchOptions::Throughput());
  CLI::App* throughput_app =
      AddMode(bench, "Many requests at once: how much does the server carry",
              options, throughput);
  CLI::Option* input_len = AddLength(*throughput_app, "--input-len",
                                     throughput->input_len, kInputLenHelp);
  AddThroughputFlags(*throughput_app, *throughput, input_len);
}

}  // namespace drover
