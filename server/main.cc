// drover: serves a model, and is a client of what it serves.

#include <google/protobuf/stubs/logging.h>
#include <spdlog/spdlog.h>

#include <iostream>
#include <string>

#include "server/client/bench/bench_command.h"
#include "server/client/generate_command.h"
#include "server/client/info_command.h"
#include "server/client/tokenize_command.h"
#include "server/command_line.h"
#include "server/serve.h"
#include "server/signal_listener.h"

namespace {

struct Runner {
  drover::Streams streams;

  int operator()(const drover::ServeOptions& options) const {
    drover::SignalListener::BlockSignals();
    return drover::RunServe(options);
  }
  int operator()(const drover::GenerateOptions& options) const {
    return drover::RunGenerate(options, streams);
  }
  int operator()(const drover::TokenizeOptions& options) const {
    return drover::RunTokenize(options, streams);
  }
  int operator()(const drover::InfoOptions& options) const {
    return drover::RunInfo(options, streams);
  }
  int operator()(const drover::BenchOptions& options) const {
    return drover::RunBench(options, streams);
  }
  int operator()(const drover::DownloadWeightsOptions& options) const {
    return drover::RunDownloadWeights(options, streams);
  }
};

// Protobuf would write to standard error whatever a client sends it.
void QuietProtobuf() {
  google::protobuf::SetLogHandler([](google::protobuf::LogLevel, const char*,
                                     int, const std::string& message) {
    spdlog::debug("protobuf: {}", message);
  });
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = drover::ParseCommandLine(argc, argv);
  if (const auto* answer = std::get_if<drover::CommandLineAnswer>(&parsed)) {
    std::cout << answer->out << std::flush;
    std::cerr << answer->err;
    return answer->exit_code;
  }
  QuietProtobuf();
  const Runner runner{{std::cin, std::cout, std::cerr}};
  return std::visit(runner, std::get<drover::Command>(parsed));
}
