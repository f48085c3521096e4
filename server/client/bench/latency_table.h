#pragma once

#include "server/client/bench/bench_options.h"
#include "server/client/connection.h"

namespace drover::bench {

// `drover bench latency --table`: Llama-2-7B, 13B and 70B with random weights,
// each on a server of its own, one after the other; a row is printed when it is
// known. A model that does not fit is a row too and says why. Anything else
// that goes wrong ends the run. Exit status and signals as those of RunBench.
int RunLatencyTable(const BenchOptions& options, Streams streams);

}  // namespace drover::bench
