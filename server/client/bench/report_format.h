#pragma once

#include <string>

#include "server/client/bench/bench_options.h"
#include "server/client/bench/report.h"
#include "server/client/bench/table_row.h"

namespace drover::bench {

// What was run, in a line: "throughput of localhost:8033: 200 requests, …".
std::string DescribeRun(const BenchOptions& options);

// For a terminal; latencies in milliseconds.
std::string FormatTable(const BenchOptions& options, const Report& report);

// The latency table: what holds for all rows and the names of the columns, then
// a line for each model.
std::string FormatTableHead(const BenchOptions& options);
std::string FormatTableRow(const TableRow& row);

}  // namespace drover::bench
