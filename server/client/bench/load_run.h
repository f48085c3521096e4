#pragma once

#include <grpcpp/client_context.h>

#include <memory>
#include <ostream>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/generation.grpc.pb.h"
#include "server/client/bench/bench_options.h"
#include "server/client/bench/load_generator.h"

namespace drover::bench {

// One load on one server: its limits are asked for, the warm-up runs, then what
// is measured.
class LoadRun {
 public:
  // `options` outlives this.
  explicit LoadRun(const BenchOptions& options);

  // Once. INVALID_ARGUMENT if the server's limits or the prompt file forbid the
  // load; otherwise the error is why nothing could be measured. What a measured
  // request ended with is in its record.
  absl::StatusOr<RunResult> Run(std::ostream& progress);

  // Ends it soon. Any thread.
  void Cancel();

 private:
  absl::Status CheckServer();
  absl::Status WarmUp(const std::vector<BenchRequest>& requests);

  const BenchOptions& options_;
  const std::unique_ptr<fmaas::GenerationService::StubInterface> stub_;
  grpc::ClientContext limits_context_;
  LoadGenerator generator_;
};

}  // namespace drover::bench
