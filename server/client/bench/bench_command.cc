#include "server/client/bench/bench_command.h"

#include <atomic>
#include <ostream>

#include "absl/status/statusor.h"
#include "server/client/bench/latency_table.h"
#include "server/client/bench/load_run.h"
#include "server/client/bench/output_file.h"
#include "server/client/bench/report.h"
#include "server/client/bench/report_format.h"
#include "server/client/bench/report_json.h"
#include "server/signal_listener.h"

namespace drover {

int RunBench(const BenchOptions& options, Streams streams) {
  if (options.table) return bench::RunLatencyTable(options, streams);
  const auto fail = [&](absl::string_view what) {
    streams.err << "drover bench: " << what << std::endl;
    return 1;
  };
  bench::OutputFile json;
  if (!json.Open(options.json_file)) return fail(json.Failure());
  bench::OutputFile records;
  if (!records.Open(options.records_file)) return fail(records.Failure());
  SignalListener::BlockSignals();
  bench::LoadRun run(options);
  std::atomic<bool> interrupted{false};
  const SignalListener signals([&](int) {
    interrupted = true;
    run.Cancel();
  });
  const absl::StatusOr<bench::RunResult> result = run.Run(streams.err);
  if (interrupted) return kExitInterrupted;
  if (!result.ok()) return fail(result.status().message());
  const bench::Report report =
      bench::MakeReport(result->records, result->duration, options.goodput);
  streams.out << bench::FormatTable(options, report);
  if (FinishOutput("drover bench", streams) != 0) return 1;
  if (!json.Write(bench::FormatJson(options, report))) {
    return fail(json.Failure());
  }
  if (!records.Write(bench::FormatRecords(result->records))) {
    return fail(records.Failure());
  }
  return report.num_failed == 0 ? 0 : 1;
}

}  // namespace drover
