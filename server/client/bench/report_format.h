#pragma once

#include <string>
#include <vector>

#include "server/client/bench/bench_options.h"
#include "server/client/bench/report.h"
#include "server/client/bench/stream_record.h"

namespace drover::bench {

// What was run, in a line: "throughput of localhost:8033: 200 requests, …".
std::string DescribeRun(const BenchOptions& options);

// For a terminal; latencies in milliseconds.
std::string FormatTable(const BenchOptions& options, const Report& report);

// For programs: the same and more, every number under a name with its unit.
// One object, indented, with a final newline.
std::string FormatJson(const BenchOptions& options, const Report& report);

// One object a line and request, in their order, those that failed included.
// Instants are seconds of the machine's steady clock, so that the records of
// clients that ran at once compare.
std::string FormatRecords(const std::vector<StreamRecord>& records);

}  // namespace drover::bench
