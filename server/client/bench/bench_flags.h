#pragma once

#include "server/client/bench/bench_options.h"

namespace CLI {
class App;
}  // namespace CLI

namespace drover {

// Gives the command `bench` its two subcommands. Parsing leaves in `options`
// what the chosen one says; both must outlive that.
void AddBenchFlags(CLI::App& bench, BenchOptions& options);

}  // namespace drover
