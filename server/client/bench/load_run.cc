#include "server/client/bench/load_run.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/read_file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "server/client/bench/workload.h"
#include "server/client/connection.h"

namespace drover::bench {
namespace {

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

// Those of the warm-up first.
absl::StatusOr<std::vector<BenchRequest>> MakeRequests(
    const BenchOptions& options) {
  const RequestShape shape{
      .input_len = options.input_len,
      .output_len = options.output_len,
      .num_requests = options.warmup + options.num_requests,
      .seed = options.seed,
      .full_sampling = options.full_sampling};
  if (options.prompt_file.empty()) return MakeRandomRequests(shape);
  DROVER_ASSIGN_OR_RETURN(const std::string text,
                          ReadFile(options.prompt_file, kMaxPromptFileBytes));
  auto requests = MakeRequestsFromLines(text, shape);
  if (requests.ok()) return requests;
  return absl::InvalidArgumentError(StrCat(
      options.prompt_file, ": ", std::string(requests.status().message())));
}

Pacing MakePacing(const BenchOptions& options) {
  if (!options.rate.has_value()) {
    return {.max_streams = static_cast<size_t>(options.streams)};
  }
  return {.max_streams = 0,
          .arrivals = options.evenly
                          ? EvenArrivals(*options.rate, options.num_requests)
                          : PoissonArrivals(*options.rate, options.num_requests,
                                            options.seed)};
}

}  // namespace

LoadRun::LoadRun(const BenchOptions& options)
    : options_(options),
      stub_(fmaas::GenerationService::NewStub(
          Connect(options.address, options.tls))),
      generator_(*stub_, Clock::Monotonic()) {}

absl::StatusOr<RunResult> LoadRun::Run(std::ostream& progress) {
  DROVER_RETURN_IF_ERROR(CheckServer());
  DROVER_ASSIGN_OR_RETURN(std::vector<BenchRequest> requests,
                          MakeRequests(options_));
  const auto measured = requests.begin() + options_.warmup;
  const std::vector<BenchRequest> warmup(
      std::make_move_iterator(requests.begin()),
      std::make_move_iterator(measured));
  requests.erase(requests.begin(), measured);
  if (!warmup.empty()) {
    progress << "warm-up: " << warmup.size() << " requests" << std::endl;
    DROVER_RETURN_IF_ERROR(WarmUp(warmup));
  }
  progress << "measuring: " << requests.size() << " requests" << std::endl;
  return generator_.Run(requests, MakePacing(options_));
}

void LoadRun::Cancel() {
  limits_context_.TryCancel();
  generator_.Cancel();
}

absl::Status LoadRun::CheckServer() {
  limits_context_.set_deadline(
      absl::ToChronoTime(absl::Now() + options_.patience));
  fmaas::ModelInfoResponse limits;
  const grpc::Status status = stub_->ModelInfo(&limits_context_, {}, &limits);
  if (!status.ok()) {
    return absl::UnavailableError(DescribeFailure(status, options_.address));
  }
  return CheckLimits(options_, limits);
}

// As many at once as in what is measured, so that it too starts warm.
absl::Status LoadRun::WarmUp(const std::vector<BenchRequest>& requests) {
  const RunResult result = generator_.Run(
      requests, {.max_streams = static_cast<size_t>(options_.streams)});
  for (const StreamRecord& record : result.records) {
    if (record.status.ok()) continue;
    return absl::Status(record.status.code(),
                        absl::StrCat("a request of the warm-up failed: ",
                                     record.status.ToString()));
  }
  return absl::OkStatus();
}

}  // namespace drover::bench
