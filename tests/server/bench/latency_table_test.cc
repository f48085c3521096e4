#include "server/client/bench/latency_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "sharding/exit_status.h"
#include "tests/server/bench/scripted_server.h"
#include "tests/testing/temp_dir.h"

namespace drover::bench {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

// What `drover bench latency --table` printed and returned.
struct Outcome {
  int exit_status = 0;
  std::string out;
  std::string err;
};

// Lengths within the limits of ScriptedServer.
BenchOptions Options(std::vector<std::string> serve_options) {
  BenchOptions options = BenchOptions::Latency();
  options.table = true;
  options.server_program = FAKE_DROVER_BINARY;
  options.serve_options = std::move(serve_options);
  options.input_len = {8, 8};
  options.output_len = {3, 3};
  options.num_requests = 4;
  options.warmup = 1;
  return options;
}

Outcome RunWith(const BenchOptions& options) {
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  const int exit_status = RunLatencyTable(options, {in, out, err});
  return {exit_status, out.str(), err.str()};
}

// Has every server of the table say that this one is it.
std::string TellPort(const ScriptedServer& server) {
  const std::string address = server.address();
  return "--tell-port=" + address.substr(address.rfind(':') + 1);
}

TEST(LatencyTable, HasARowForEachModelAndSaysWhichDoesNotFit) {
  const TempDir dir;
  ScriptedServer server;
  BenchOptions options =
      Options({TellPort(server), "--give-up=the weights take 129 GiB",
               "--give-up-on=llama-2-70b",
               StrCat("--give-up-status=", kExitDoesNotFit)});
  options.json_file = dir.path() + "/table.json";
  const Outcome outcome = RunWith(options);
  EXPECT_EQ(outcome.exit_status, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              ContainsRegex("8 tokens in, 3 out(.|\n)*TTFT p50(.|\n)*"
                            "llama-2-7b  +[0-9](.|\n)*"
                            "llama-2-13b  +[0-9](.|\n)*"
                            "llama-2-70b  does not fit: the weights take 129 "
                            "GiB\n"));
  // Of two models, a warm-up each.
  EXPECT_THAT(server.requests(), SizeIs(10));

  std::ifstream file(options.json_file);
  const auto json = nlohmann::json::parse(file);
  EXPECT_EQ(json["benchmark"], "latency table");
  ASSERT_THAT(json["models"], SizeIs(3));
  EXPECT_EQ(json["models"][0]["model"], "llama-2-7b");
  EXPECT_EQ(json["models"][0]["fits"], true);
  EXPECT_EQ(json["models"][0]["completed"], 4);
  EXPECT_EQ(json["models"][0]["tpot_ms"]["count"], 4);
  EXPECT_EQ(json["models"][2],
            nlohmann::json({{"model", "llama-2-70b"},
                            {"fits", false},
                            {"reason", "the weights take 129 GiB"}}));
}

TEST(LatencyTable, ServersTakeTheUsersOptionsInPlaceOfItsOwn) {
  const TempDir dir;
  const std::string words_file = dir.path() + "/words";
  const BenchOptions options = Options(
      {"--give-up=too large", StrCat("--give-up-status=", kExitDoesNotFit),
       "--note-words=" + words_file, "--max-batch-size=2"});
  EXPECT_EQ(RunWith(options).exit_status, 0);
  std::ifstream file(words_file);
  const std::string words(std::istreambuf_iterator<char>(file), {});
  EXPECT_THAT(words, HasSubstr("--model-config=llama-2-13b "));
  EXPECT_THAT(words, HasSubstr("--max-new-tokens=3 "));
  EXPECT_THAT(words, HasSubstr("--max-batch-size=2 "));
  EXPECT_THAT(words, Not(HasSubstr("--max-batch-size=8")));
}

TEST(LatencyTable, AServerThatFailsIsAnErrorAndNoRow) {
  const Outcome outcome = RunWith(
      Options({"--give-up=the driver is too old", "--give-up-status=1"}));
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_THAT(outcome.out, Not(HasSubstr("llama")));
  EXPECT_THAT(outcome.err,
              HasSubstr("drover bench: llama-2-7b: the server exited with "
                        "status 1: the driver is too old\n"));
}

TEST(LatencyTable, RequestsThatFailAreAnErrorToo) {
  ScriptedServer server({.missing_tokens = 1});
  BenchOptions options = Options({TellPort(server)});
  options.warmup = 0;
  const Outcome outcome = RunWith(options);
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_THAT(outcome.err,
              HasSubstr("llama-2-7b: 4 of 4 requests failed: INTERNAL"));
}

TEST(LatencyTable, AServerThatDoesNotEndWellIsAnError) {
  ScriptedServer server;
  const Outcome outcome =
      RunWith(Options({TellPort(server), "--end-status=1"}));
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_THAT(outcome.err,
              HasSubstr("llama-2-7b: the server exited with status 1"));
}

TEST(LatencyTable, CtrlCEndsTheServerThatIsStarting) {
  const Outcome outcome = RunWith(Options({"--interrupt-parent"}));
  EXPECT_EQ(outcome.exit_status, 130);
  EXPECT_THAT(outcome.out, Not(HasSubstr("llama")));
}

TEST(LatencyTable, CtrlCEndsTheLoad) {
  ScriptedServer server({.hang = true});
  std::thread interrupt([&server] {
    server.AwaitRunning(1);
    kill(getpid(), SIGINT);
  });
  const Outcome outcome = RunWith(Options({TellPort(server)}));
  interrupt.join();
  EXPECT_EQ(outcome.exit_status, 130);
  EXPECT_THAT(outcome.out, Not(HasSubstr("llama")));
}

TEST(LatencyTable, NoticesBeforeTheRunThatTheReportCannotBeWritten) {
  BenchOptions options = Options({});
  options.server_program = "/no/such/drover";
  options.json_file = "/nonexistent/table.json";
  const Outcome outcome = RunWith(options);
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("cannot write /nonexistent/table.json"));
}

}  // namespace
}  // namespace drover::bench
