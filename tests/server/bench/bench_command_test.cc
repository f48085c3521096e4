#include "server/client/bench/bench_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/server/bench/scripted_server.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using bench::ScriptedServer;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// What `drover bench` printed and returned.
struct Outcome {
  int exit_status = 0;
  std::string out;
  std::string err;
};

Outcome RunWith(const BenchOptions& options) {
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  const int exit_status = RunBench(options, {in, out, err});
  return {exit_status, out.str(), err.str()};
}

// Lengths within the limits of ScriptedServer.
BenchOptions Options(const std::string& address) {
  BenchOptions options = BenchOptions::Throughput();
  options.address = address;
  options.input_len = {4, 9};
  options.output_len = {3, 3};
  options.num_requests = 20;
  options.streams = 4;
  return options;
}

TEST(BenchCommand, PrintsATableAndWritesTheSameAsJson) {
  const TempDir dir;
  ScriptedServer server;
  BenchOptions options = Options(server.address());
  options.json_file = dir.path() + "/report.json";
  const Outcome outcome = RunWith(options);
  EXPECT_EQ(outcome.exit_status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("20 completed, 0 failed"));
  EXPECT_THAT(outcome.out, HasSubstr("60 tokens"));
  std::ifstream file(options.json_file);
  const auto json = nlohmann::json::parse(file);
  EXPECT_EQ(json["completed"], 20);
  EXPECT_EQ(json["output_tokens"], 60);
  // Two of them warmed up.
  EXPECT_THAT(server.requests(), SizeIs(22));
}

TEST(BenchCommand, ReadsPromptsFromAFile) {
  const TempDir dir;
  ScriptedServer server;
  BenchOptions options = Options(server.address());
  options.prompt_file = dir.path() + "/prompts";
  options.num_requests = 1;
  options.warmup = 0;
  std::ofstream(options.prompt_file) << "Once upon a time\n";
  EXPECT_EQ(RunWith(options).exit_status, 0);
  ASSERT_THAT(server.requests(), SizeIs(1));
  EXPECT_EQ(server.requests()[0].request().text(), "Once upon a time");
}

TEST(BenchCommand, AFailedRequestIsShownAndMakesTheExitStatusOne) {
  ScriptedServer server({.fail_after = 1});
  BenchOptions options = Options(server.address());
  options.warmup = 0;
  const Outcome outcome = RunWith(options);
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_THAT(outcome.out, HasSubstr("20 x UNAVAILABLE: the shard is gone"));
}

TEST(BenchCommand, AFailedWarmUpEndsIt) {
  ScriptedServer server({.missing_tokens = 1});
  const Outcome outcome = RunWith(Options(server.address()));
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("a request of the warm-up failed"));
}

TEST(BenchCommand, RefusesLengthsBeyondTheServersLimits) {
  ScriptedServer server;
  BenchOptions options = Options(server.address());
  options.output_len = {3, 51};
  Outcome outcome = RunWith(options);
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("--output-len 3:51"));

  options.input_len = {4, 98};
  options.output_len = {3, 3};
  outcome = RunWith(options);
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("101 tokens together"));
  EXPECT_THAT(server.requests(), SizeIs(0));
}

TEST(BenchCommand, SaysInOneLineThatNothingAnswers) {
  std::string address;
  {
    ScriptedServer gone;
    address = gone.address();
  }
  const Outcome outcome = RunWith(Options(address));
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("drover bench: " + address));
}

TEST(BenchCommand, NoticesBeforeTheRunThatTheReportCannotBeWritten) {
  ScriptedServer server;
  BenchOptions options = Options(server.address());
  options.json_file = "/nonexistent/report.json";
  const Outcome outcome = RunWith(options);
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("cannot write /nonexistent/report.json"));
  EXPECT_THAT(server.requests(), SizeIs(0));
}

}  // namespace
}  // namespace drover
