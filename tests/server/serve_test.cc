// The whole process in one: RunServe with a shard process that has no model.

#include "server/serve.h"

#include <fcntl.h>
#include <grpcpp/client_context.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/model_config.h"
#include "nlohmann/json.hpp"
#include "proto/generation.grpc.pb.h"
#include "server/client/connection.h"
#include "server/client/generate_command.h"
#include "server/signal_listener.h"
#include "tests/server/http_client.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kDemoModel[] = DROVER_SOURCE_DIR "/models/fables-7m";

// Before any test has started a thread: a signal is delivered to whichever
// thread does not block it.
class SignalsBlocked : public ::testing::Environment {
 public:
  void SetUp() override { SignalListener::BlockSignals(); }
};

const ::testing::Environment* const kSignalsBlocked =
    ::testing::AddGlobalTestEnvironment(new SignalsBlocked);

// One `drover serve` on a thread, over fake-shard with `shard_flags`.
class ServeRun {
 public:
  explicit ServeRun(const std::string& shard_flags) {
    const std::string shard = folder_.Write(
        "shard", "#!/bin/sh\necho $$ >" + folder_.path() +
                     "/shard_pid\nexec " FAKE_SHARD_BINARY " --fingerprint " +
                     *ModelFingerprint(kDemoModel) + " " + shard_flags +
                     " \"$@\"\n");
    chmod(shard.c_str(), 0700);
    options_.model = kDemoModel;
    options_.host = "127.0.0.1";
    options_.grpc_port = 0;
    options_.port = 0;
    options_.shard_binary = shard;
    options_.ready_file = folder_.path() + "/ready";
    options_.termination_log = folder_.path() + "/termination";
    options_.log_level = "off";
    mkfifo(options_.ready_file.c_str(), 0600);
    // Open for both, so that neither end waits for the other to open.
    ready_fd_ = open(options_.ready_file.c_str(), O_RDWR | O_CLOEXEC);
    thread_ = std::thread([this] {
      exit_code_ = RunServe(options_);
      static_cast<void>(write(ready_fd_, "{}", 2) == 2);
    });
  }

  ~ServeRun() {
    if (thread_.joinable()) Join();
    close(ready_fd_);
  }

  // Waits until it is ready, or has ended.
  bool AwaitReady() {
    std::array<char, 256> line;
    const ssize_t size = read(ready_fd_, line.data(), line.size());
    const nlohmann::json ready =
        nlohmann::json::parse(line.data(), line.data() + size);
    if (!ready.contains("grpc_port")) return false;
    grpc_port_ = ready["grpc_port"];
    http_port_ = ready["http_port"];
    return true;
  }

  int Join() {
    thread_.join();
    return exit_code_;
  }

  std::string address() const {
    return "127.0.0.1:" + std::to_string(grpc_port_);
  }

  // Exit status and what it printed.
  std::pair<int, std::string> Generate(uint32_t num_tokens) {
    std::istringstream in;
    std::ostringstream out, err;
    GenerateOptions options;
    options.address = address();
    options.prompt = "Once upon a time";
    options.max_new_tokens = num_tokens;
    options.min_new_tokens = num_tokens;
    const int code = RunGenerate(options, {in, out, err});
    return {code, err.str()};
  }

  std::string Get(const std::string& path) const {
    return testing::HttpExchange(http_port_, "GET", path);
  }

  // Until the answer to `path` contains `text`.
  void AwaitHttp(const std::string& path, const std::string& text) const {
    while (Get(path).find(text) == std::string::npos) {
    }
  }

  void KillShard() const {
    pid_t pid = 0;
    std::ifstream(folder_.path() + "/shard_pid") >> pid;
    ASSERT_GT(pid, 0);
    kill(pid, SIGKILL);
  }

  std::string termination_log() const {
    std::ifstream file(options_.termination_log);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

 private:
  const TempDir folder_;
  ServeOptions options_;
  int ready_fd_ = -1;
  int exit_code_ = -1;
  int32_t grpc_port_ = 0;
  int32_t http_port_ = 0;
  std::thread thread_;
};

TEST(ServeTest, ServesUntilSigtermAndEndsWithZero) {
  ServeRun run("");
  ASSERT_TRUE(run.AwaitReady()) << run.termination_log();
  EXPECT_THAT(run.Get("/health/ready"), StartsWith("HTTP/1.1 200 "));
  const auto [code, said] = run.Generate(5);
  EXPECT_EQ(code, 0) << said;
  EXPECT_THAT(run.Get("/metrics"),
              HasSubstr("tgi_request_generated_tokens_sum 5\n"));
  kill(getpid(), SIGTERM);
  EXPECT_EQ(run.Join(), 0);
  EXPECT_EQ(run.termination_log(), "");
}

TEST(ServeTest, AShardThatCannotStartIsStatusOneWithItsWords) {
  ServeRun run("--refuse 'the weights are gone'");
  EXPECT_FALSE(run.AwaitReady());
  EXPECT_EQ(run.Join(), 1);
  EXPECT_EQ(run.termination_log(), "cannot start: the weights are gone\n");
}

TEST(ServeTest, AModelThatDoesNotFitIsAStatusOfItsOwn) {
  ServeRun run("--refuse 'too little memory' --refuse-status 3");
  EXPECT_FALSE(run.AwaitReady());
  EXPECT_EQ(run.Join(), 3);
  EXPECT_EQ(run.termination_log(), "cannot start: too little memory\n");
}

TEST(ServeTest, WhatIsNoShardProgramIsStatusOneWithAdvice) {
  ServeOptions options;
  options.model = kDemoModel;
  options.host = "127.0.0.1";
  options.grpc_port = 0;
  options.port = 0;
  options.shard_binary = "/";
  options.log_level = "off";
  const TempDir folder;
  options.termination_log = folder.path() + "/termination";
  EXPECT_EQ(RunServe(options), 1);
  std::ifstream file(options.termination_log);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}),
            "cannot start: cannot execute /: Permission denied; build "
            "drover-shard, or name it with --shard-binary\n");
}

TEST(ServeTest, AShardThatDiesEndsRequestsAndTheServer) {
  ServeRun run("--crashing-step 20");
  ASSERT_TRUE(run.AwaitReady()) << run.termination_log();
  const auto [code, said] = run.Generate(100);
  EXPECT_EQ(code, 1);
  EXPECT_THAT(said, HasSubstr("not available"));
  EXPECT_EQ(run.Join(), 1);
  EXPECT_THAT(
      run.termination_log(),
      StartsWith("the shard is lost: the shard was killed by signal 9"));
}

TEST(ServeTest, AShardThatDiesDuringADrainIsStatusOneToo) {
  ServeRun run("--holding-step 20");
  ASSERT_TRUE(run.AwaitReady()) << run.termination_log();
  const auto stub = fmaas::GenerationService::NewStub(Connect(run.address()));
  grpc::ClientContext context;
  const auto reader = stub->GenerateStream(
      &context, MakeGenerateRequest({.max_new_tokens = 100}, "Once"));
  run.AwaitHttp("/metrics",
                "tgi_batch_inference_count{method=\"prefill\"} 1\n");
  kill(getpid(), SIGTERM);
  run.AwaitHttp("/health/ready", "draining");
  run.KillShard();
  fmaas::GenerationResponse message;
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(run.Join(), 1);
  EXPECT_THAT(run.termination_log(), StartsWith("the shard is lost: "));
}

}  // namespace
}  // namespace drover
