#include "server/client/bench/bench_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <string>

namespace drover {
namespace {

using ::testing::HasSubstr;

// What `drover bench ARGUMENTS` is told, or the error's text.
struct Parsed {
  BenchOptions options;
  std::string error;
};

Parsed Parse(const std::string& arguments) {
  Parsed parsed;
  CLI::App app("", "bench");
  AddBenchFlags(app, parsed.options);
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    parsed.error = error.what();
  }
  return parsed;
}

TEST(BenchFlags, EachModeHasDefaultsOfItsOwn) {
  const Parsed latency = Parse("latency");
  EXPECT_EQ(latency.error, "");
  EXPECT_EQ(latency.options.name, "latency");
  EXPECT_EQ(latency.options.input_len.min, 1024);
  EXPECT_EQ(latency.options.output_len.max, 256);
  EXPECT_EQ(latency.options.streams, 1);

  const Parsed throughput = Parse("throughput");
  EXPECT_EQ(throughput.options.name, "throughput");
  EXPECT_EQ(throughput.options.streams, 16);
}

TEST(BenchFlags, AllAreRead) {
  const Parsed parsed = Parse(
      "throughput --address host:1 --input-len 5:9 --output-len 7 "
      "--num-requests 3 --warmup 0 --rate 2.5 --seed 11 "
      "--goodput ttft:200ms --json out.json --records out.jsonl --evenly "
      "--full-sampling");
  ASSERT_EQ(parsed.error, "");
  const BenchOptions& options = parsed.options;
  EXPECT_EQ(options.address, "host:1");
  EXPECT_EQ(options.input_len.ToString(), "5:9");
  EXPECT_EQ(options.output_len.ToString(), "7");
  EXPECT_EQ(options.num_requests, 3);
  EXPECT_EQ(options.warmup, 0);
  EXPECT_EQ(options.rate, 2.5);
  EXPECT_EQ(options.seed, 11u);
  ASSERT_TRUE(options.goodput.has_value());
  EXPECT_EQ(options.goodput->ttft, absl::Milliseconds(200));
  EXPECT_EQ(options.json_file, "out.json");
  EXPECT_EQ(options.records_file, "out.jsonl");
  EXPECT_TRUE(options.evenly);
  EXPECT_TRUE(options.full_sampling);
}

TEST(BenchFlags, ATableTakesOptionsForItsServers) {
  const Parsed parsed = Parse(
      "latency --table --num-requests 3 "
      "--serve-options='--device=cpu  --threads=2'");
  ASSERT_EQ(parsed.error, "");
  EXPECT_TRUE(parsed.options.table);
  EXPECT_EQ(parsed.options.num_requests, 3);
  EXPECT_THAT(parsed.options.serve_options,
              ::testing::ElementsAre("--device=cpu", "--threads=2"));
}

TEST(BenchFlags, RefuseWhatMakesNoSense) {
  struct Row {
    const char* arguments;
    const char* error;
  };
  const Row rows[] = {
      {"", "subcommand"},
      {"latency --streams 4", "--streams"},
      {"latency --num-requests 0", "--num-requests"},
      {"latency --input-len 0", "--input-len \"0\""},
      {"latency --goodput fast", "--goodput \"fast\""},
      {"latency --table --address host:1", "excludes"},
      {"latency --serve-options=--device=cpu", "--table"},
      {"throughput --table", "--table"},
      {"throughput --streams 4 --rate 1", "excludes"},
      {"throughput --rate 0", "--rate"},
      {"throughput --evenly", "--rate"},
      {"throughput --input-len 4 --prompt-file f", "excludes"},
  };
  for (const Row& row : rows) {
    EXPECT_THAT(Parse(row.arguments).error, HasSubstr(row.error))
        << row.arguments;
  }
}

}  // namespace
}  // namespace drover
