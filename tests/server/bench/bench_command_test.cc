#include "server/client/bench/bench_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>

#include "base/check.h"
#include "server/signal_listener.h"
#include "tests/server/bench/scripted_server.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using bench::ScriptedServer;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Before any test has started a thread: a signal is delivered to whichever
// thread does not block it.
class SignalsBlocked : public ::testing::Environment {
 public:
  void SetUp() override { SignalListener::BlockSignals(); }
};

const ::testing::Environment* const kSignalsBlocked =
    ::testing::AddGlobalTestEnvironment(new SignalsBlocked);

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

TEST(BenchCommand, WritesWhatWasSeenOfEachRequest) {
  const TempDir dir;
  ScriptedServer server;
  BenchOptions options = Options(server.address());
  options.records_file = dir.path() + "/records.jsonl";
  ASSERT_EQ(RunWith(options).exit_status, 0);
  std::ifstream file(options.records_file);
  int num_records = 0;
  for (std::string line; std::getline(file, line); ++num_records) {
    const auto record = nlohmann::json::parse(line);
    EXPECT_THAT(record["token_times_s"], SizeIs(3));
    EXPECT_LE(record["sent_at_s"], record["token_times_s"][0]);
  }
  EXPECT_EQ(num_records, 20);
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

  options.json_file.clear();
  options.records_file = "/nonexistent/records";
  EXPECT_THAT(RunWith(options).err,
              HasSubstr("cannot write /nonexistent/records"));
  EXPECT_THAT(server.requests(), SizeIs(0));
}

// A port on which somebody listens and nobody answers.
class SilentServer {
 public:
  SilentServer() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address_);
    auto* const generic = reinterpret_cast<sockaddr*>(&address_);
    DROVER_CHECK(bind(listener_, generic, size) == 0 &&
                 listen(listener_, /*backlog=*/1) == 0 &&
                 getsockname(listener_, generic, &size) == 0);
  }
  ~SilentServer() {
    close(client_);
    close(listener_);
  }

  std::string address() const {
    return "127.0.0.1:" + std::to_string(ntohs(address_.sin_port));
  }
  void AwaitClient() { client_ = accept(listener_, nullptr, nullptr); }

 private:
  const int listener_;
  int client_ = -1;
  sockaddr_in address_ = {};
};

TEST(BenchCommand, CtrlCEndsItBeforeTheServerHasAnswered) {
  SilentServer server;
  BenchOptions options = Options(server.address());
  options.patience = absl::InfiniteDuration();
  std::thread interrupt([&server] {
    server.AwaitClient();
    kill(getpid(), SIGINT);
  });
  const Outcome outcome = RunWith(options);
  interrupt.join();
  EXPECT_EQ(outcome.exit_status, 130);
  EXPECT_EQ(outcome.out, "");
}

}  // namespace
}  // namespace drover
