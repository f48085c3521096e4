#pragma once

#include <string>
#include <variant>

#include "server/client/bench/bench_options.h"
#include "server/client/client_options.h"
#include "server/client/download_weights_command.h"
#include "server/options.h"

namespace drover {

// What to do, from the command line and the environment. Options are valid.
using Command = std::variant<ServeOptions, GenerateOptions, TokenizeOptions,
                             InfoOptions, BenchOptions, DownloadWeightsOptions>;

// What to print instead of doing anything: help, the version, or one line that
// says what is wrong.
struct CommandLineAnswer {
  int exit_code = 0;  // 2 after an error
  std::string out;
  std::string err;
};

// Under the name kLauncherName (argv[0]) all arguments are those of `serve`.
// Any other name is the program's own: init containers call
// `text-generation-server download-weights`.
// Every option of `serve` may also come from an environment variable of its
// name in upper case with underscores; the flag wins.
std::variant<Command, CommandLineAnswer> ParseCommandLine(
    int argc, const char* const* argv);

}  // namespace drover
