#pragma once

#include "server/client/bench/bench_options.h"
#include "server/client/connection.h"

namespace drover {

inline constexpr int kExitInterrupted = 130;  // 128 + SIGINT

// `drover bench latency` and `drover bench throughput`: puts a load on any
// server of fmaas.GenerationService, or on those that the table starts, and
// prints what it did to `out`, progress and errors to `err`. Returns the exit
// status: 0; 1 if a request failed or nothing could be measured; 130 after
// Ctrl-C, which cancels what runs.
//
// Blocks SIGINT and SIGTERM in the calling thread.
int RunBench(const BenchOptions& options, Streams streams);

}  // namespace drover
