#pragma once

#include <string>

#include "server/client/bench/bench_options.h"
#include "server/client/bench/report.h"

namespace drover::bench {

// What was run, in a line: "throughput of localhost:8033: 200 requests, …".
std::string DescribeRun(const BenchOptions& options);

// For a terminal; latencies in milliseconds.
std::string FormatTable(const BenchOptions& options, const Report& report);

// For programs: the same and more, every number under a name with its unit.
// One object, indented, with a final newline.
std::string FormatJson(const BenchOptions& options, const Report& report);

}  // namespace drover::bench
