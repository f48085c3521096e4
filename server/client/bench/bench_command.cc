#include "server/client/bench/bench_command.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iterator>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/read_file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "proto/generation.grpc.pb.h"
#include "server/client/bench/load_generator.h"
#include "server/client/bench/report.h"
#include "server/client/bench/report_format.h"
#include "server/client/bench/workload.h"
#include "server/signal_listener.h"

namespace drover {
namespace {

using bench::BenchRequest;
using Stub = fmaas::GenerationService::StubInterface;

constexpr int kExitInterrupted = 130;  // 128 + SIGINT
constexpr int64_t kMaxPromptFileBytes = int64_t{1} << 30;

// Lengths that the server would refuse request by request are refused here.
absl::Status CheckLimits(const BenchOptions& options,
                         const fmaas::ModelInfoResponse& limits) {
  const int64_t output_len = options.output_len.max;
  if (limits.max_new_tokens() > 0 && output_len > limits.max_new_tokens()) {
    return absl::InvalidArgumentError(
        StrCat("--output-len ", options.output_len.ToString(),
               ": the server's limit is ", limits.max_new_tokens()));
  }
  const int64_t total =
      output_len + (options.prompt_file.empty() ? options.input_len.max : 0);
  if (limits.max_sequence_length() > 0 &&
      total > limits.max_sequence_length()) {
    return absl::InvalidArgumentError(
        StrCat("--input-len and --output-len are ", total,
               " tokens together: the server's limit is ",
               limits.max_sequence_length()));
  }
  return absl::OkStatus();
}

absl::Status CheckServer(const BenchOptions& options, Stub& stub,
                         grpc::ClientContext& context) {
  context.set_deadline(absl::ToChronoTime(absl::Now() + options.patience));
  fmaas::ModelInfoResponse limits;
  const grpc::Status status = stub.ModelInfo(&context, {}, &limits);
  if (!status.ok()) {
    return absl::UnavailableError(DescribeFailure(status, options.address));
  }
  return CheckLimits(options, limits);
}

// Those of the warm-up first.
absl::StatusOr<std::vector<BenchRequest>> MakeRequests(
    const BenchOptions& options) {
  const bench::RequestShape shape{
      .input_len = options.input_len,
      .output_len = options.output_len,
      .num_requests = options.warmup + options.num_requests,
      .seed = options.seed};
  if (options.prompt_file.empty()) return MakeRandomRequests(shape);
  DROVER_ASSIGN_OR_RETURN(const std::string text,
                          ReadFile(options.prompt_file, kMaxPromptFileBytes));
  auto requests = MakeRequestsFromLines(text, shape);
  if (requests.ok()) return requests;
  return absl::InvalidArgumentError(StrCat(
      options.prompt_file, ": ", std::string(requests.status().message())));
}

bench::Pacing MakePacing(const BenchOptions& options) {
  if (!options.rate.has_value()) {
    return {.max_streams = static_cast<size_t>(options.streams)};
  }
  return {
      .max_streams = 0,
      .arrivals = options.evenly
                      ? bench::EvenArrivals(*options.rate, options.num_requests)
                      : bench::PoissonArrivals(
                            *options.rate, options.num_requests, options.seed)};
}

// As many at once as in what is measured, so that it too starts warm.
absl::Status WarmUp(const BenchOptions& options,
                    const std::vector<BenchRequest>& requests,
                    bench::LoadGenerator& generator) {
  const bench::RunResult result = generator.Run(
      requests, {.max_streams = static_cast<size_t>(options.streams)});
  for (const bench::StreamRecord& record : result.records) {
    if (record.status.ok()) continue;
    return absl::Status(record.status.code(),
                        absl::StrCat("a request of the warm-up failed: ",
                                     record.status.ToString()));
  }
  return absl::OkStatus();
}

// Measures, after the warm-up.
absl::StatusOr<bench::RunResult> Measure(const BenchOptions& options,
                                         bench::LoadGenerator& generator,
                                         std::ostream& progress) {
  DROVER_ASSIGN_OR_RETURN(std::vector<BenchRequest> requests,
                          MakeRequests(options));
  const auto measured = requests.begin() + options.warmup;
  const std::vector<BenchRequest> warmup(
      std::make_move_iterator(requests.begin()),
      std::make_move_iterator(measured));
  requests.erase(requests.begin(), measured);
  if (!warmup.empty()) {
    progress << "warm-up: " << warmup.size() << " requests" << std::endl;
    DROVER_RETURN_IF_ERROR(WarmUp(options, warmup, generator));
  }
  progress << "measuring: " << requests.size() << " requests" << std::endl;
  return generator.Run(requests, MakePacing(options));
}

// A file that the user asked for, or did not.
class OutputFile {
 public:
  // Before a long run, not after it. An empty path: nothing is written.
  bool Open(const std::string& path) {
    path_ = path;
    if (!path.empty()) file_.open(path, std::ios::binary);
    return path.empty() || file_.is_open();
  }
  bool Write(const std::string& text) {
    return path_.empty() || (file_ << text << std::flush).good();
  }
  std::string Failure() const { return StrCat("cannot write ", path_); }

 private:
  std::string path_;
  std::ofstream file_;
};

}  // namespace

int RunBench(const BenchOptions& options, Streams streams) {
  const auto fail = [&](absl::string_view what) {
    streams.err << "drover bench: " << what << std::endl;
    return 1;
  };
  OutputFile json;
  if (!json.Open(options.json_file)) return fail(json.Failure());
  OutputFile records;
  if (!records.Open(options.records_file)) return fail(records.Failure());
  SignalListener::BlockSignals();
  const auto stub = fmaas::GenerationService::NewStub(Connect(options.address));
  bench::LoadGenerator generator(*stub, Clock::Monotonic());
  grpc::ClientContext limits_context;
  std::atomic<bool> interrupted{false};
  const SignalListener signals([&](int) {
    interrupted = true;
    limits_context.TryCancel();
    generator.Cancel();
  });
  const absl::Status checked = CheckServer(options, *stub, limits_context);
  const absl::StatusOr<bench::RunResult> result =
      checked.ok() ? Measure(options, generator, streams.err) : checked;
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
