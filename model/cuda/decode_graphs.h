#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace drover::cuda {

struct GraphExecDeleter {
  void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
};
using GraphExec =
    std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, GraphExecDeleter>;

// Records what `enqueue` puts on `stream`, instead of running it.
absl::StatusOr<GraphExec> CaptureGraph(
    cudaStream_t stream, const std::function<absl::Status()>& enqueue);

// The numbers of sequences that decode steps are padded to, ascending; the last
// is max_sequences.
std::vector<int32_t> DecodeBuckets(int32_t max_sequences);

// One bucket's step: forward to the logits, and sampler. Two graphs, so that
// something may come between them.
struct DecodeGraph {
  GraphExec forward;
  GraphExec sampler;
};

// By padded number of sequences.
using DecodeGraphs = std::map<int32_t, DecodeGraph>;

}  // namespace drover::cuda
