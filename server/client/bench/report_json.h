#pragma once

#include <string>
#include <vector>

#include "server/client/bench/bench_options.h"
#include "server/client/bench/report.h"
#include "server/client/bench/stream_record.h"
#include "server/client/bench/table_row.h"

namespace drover::bench {

// For programs: what FormatTable says and more, every number under a name with
// its unit. One object, indented, with a final newline.
std::string FormatJson(const BenchOptions& options, const Report& report);

// The same of a table: what holds for all rows, and `models`, one for each row,
// which either `fits` and has a report's fields, or has a `reason`.
std::string FormatTableJson(const BenchOptions& options,
                            const std::vector<TableRow>& rows);

// One object a line and request, in their order, those that failed included.
// Instants are seconds of the machine's steady clock, so that the records of
// clients that ran at once compare.
std::string FormatRecords(const std::vector<StreamRecord>& records);

}  // namespace drover::bench
