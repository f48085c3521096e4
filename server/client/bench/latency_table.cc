#include "server/client/bench/latency_table.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "server/client/bench/bench_command.h"
#include "server/client/bench/load_run.h"
#include "server/client/bench/output_file.h"
#include "server/client/bench/own_server.h"
#include "server/client/bench/report.h"
#include "server/client/bench/report_format.h"
#include "server/client/bench/report_json.h"
#include "server/signal_listener.h"

namespace drover::bench {
namespace {

constexpr const char* kModels[] = {"llama-2-7b", "llama-2-13b", "llama-2-70b"};
constexpr int32_t kMinStepTokens = 2048;

// What a signal ends changes in the course of a run. Thread-safe.
class Interruption {
 public:
  void Interrupt() {
    absl::MutexLock lock(&mutex_);
    interrupted_ = true;
    if (action_) action_();
  }
  bool interrupted() const {
    absl::MutexLock lock(&mutex_);
    return interrupted_;
  }
  // What to do from now on, at once if it was interrupted already; empty:
  // nothing. The former action does not run any more.
  void SetAction(std::function<void()> action) {
    absl::MutexLock lock(&mutex_);
    action_ = std::move(action);
    if (interrupted_ && action_) action_();
  }

 private:
  mutable absl::Mutex mutex_;
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> action_ ABSL_GUARDED_BY(mutex_);
};

std::string_view FlagOf(std::string_view option) {
  return option.substr(0, option.find('='));
}

// What the table asks for, as far as the user does not. What makes the row true
// is not theirs to change: named twice, the server refuses it.
std::vector<std::string> ServeOptionsFor(std::string_view model,
                                         const BenchOptions& options) {
  std::vector<std::string> words = {
      // Room for the next request while the last one's slot is freed.
      "--max-batch-size=8", StrCat("--max-new-tokens=", options.output_len.max),
      StrCat("--max-step-tokens=",
             std::max(kMinStepTokens, options.input_len.max))};
  for (const std::string& theirs : options.serve_options) {
    words.erase(std::remove_if(words.begin(), words.end(),
                               [&](const std::string& ours) {
                                 return FlagOf(ours) == FlagOf(theirs);
                               }),
                words.end());
  }
  words.insert(words.end(),
               {"--load-format=dummy", StrCat("--model-config=", model)});
  words.insert(words.end(), options.serve_options.begin(),
               options.serve_options.end());
  return words;
}

absl::StatusOr<Report> MeasureLoad(const BenchOptions& options,
                                   OwnServer& server,
                                   Interruption& interruption,
                                   std::ostream& progress) {
  LoadRun run(options);
  interruption.SetAction([&] {
    server.Stop();
    run.Cancel();
  });
  const absl::Cleanup without_run = [&] {
    interruption.SetAction([&] { server.Stop(); });
  };
  DROVER_ASSIGN_OR_RETURN(const RunResult result, run.Run(progress));
  Report report = MakeReport(result.records, result.duration, options.goodput);
  if (report.num_failed == 0) return report;
  return absl::UnavailableError(
      StrCat(report.num_failed, " of ", options.num_requests,
             " requests failed: ", report.failures.front().what));
}

absl::StatusOr<TableRow> MeasureModel(const std::string& model,
                                      const BenchOptions& options,
                                      Interruption& interruption,
                                      std::ostream& progress) {
  progress << model << ": starting a server" << std::endl;
  DROVER_ASSIGN_OR_RETURN(const std::unique_ptr<OwnServer> server,
                          OwnServer::Start(options.server_program,
                                           ServeOptionsFor(model, options)));
  interruption.SetAction([&] { server->Stop(); });
  const absl::Cleanup without_server = [&] { interruption.SetAction({}); };
  const absl::StatusOr<int32_t> port = server->AwaitReady();
  if (absl::IsResourceExhausted(port.status())) {
    return TableRow{.model = model,
                    .does_not_fit = std::string(port.status().message())};
  }
  DROVER_RETURN_IF_ERROR(port.status());
  BenchOptions load = options;
  load.address = StrCat("127.0.0.1:", *port);
  DROVER_ASSIGN_OR_RETURN(Report report,
                          MeasureLoad(load, *server, interruption, progress));
  server->Stop();
  DROVER_RETURN_IF_ERROR(server->AwaitEnd());
  return TableRow{.model = model, .report = std::move(report)};
}

}  // namespace

int RunLatencyTable(const BenchOptions& options, Streams streams) {
  const auto fail = [&](std::string_view what) {
    streams.err << "drover bench: " << what << std::endl;
    return 1;
  };
  OutputFile json;
  if (!json.Open(options.json_file)) return fail(json.Failure());
  SignalListener::BlockSignals();
  Interruption interruption;
  const SignalListener signals([&](int) { interruption.Interrupt(); });
  streams.out << FormatTableHead(options) << std::flush;
  std::vector<TableRow> rows;
  for (const char* model : kModels) {
    absl::StatusOr<TableRow> row =
        MeasureModel(model, options, interruption, streams.err);
    if (interruption.interrupted()) return kExitInterrupted;
    if (!row.ok()) {
      return fail(StrCat(model, ": ", std::string(row.status().message())));
    }
    streams.out << FormatTableRow(*row) << std::flush;
    rows.push_back(*std::move(row));
  }
  if (FinishOutput("drover bench", streams) != 0) return 1;
  if (!json.Write(FormatTableJson(options, rows))) return fail(json.Failure());
  return 0;
}

}  // namespace drover::bench
