#include "model/cuda/decode_graphs.h"

#include <algorithm>

#include "model/cuda/cuda_status.h"

namespace drover::cuda {

absl::StatusOr<GraphExec> CaptureGraph(
    cudaStream_t stream, const std::function<absl::Status()>& enqueue) {
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  const absl::Status enqueued = enqueue();
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  DROVER_RETURN_IF_ERROR(enqueued);
  DROVER_RETURN_IF_ERROR(CudaStatus(ended, "capturing a graph"));
  cudaGraphExec_t exec = nullptr;
  const cudaError_t instantiated = cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphDestroy(graph);
  DROVER_RETURN_IF_ERROR(CudaStatus(instantiated, "instantiating a graph"));
  GraphExec owned(exec);
  DROVER_RETURN_IF_CUDA_ERROR(cudaGraphUpload(exec, stream));
  return owned;
}

std::vector<int32_t> DecodeBuckets(int32_t max_sequences) {
  constexpr int32_t kFirst[] = {1, 2, 4, 8};
  std::vector<int32_t> buckets;
  for (const int32_t bucket : kFirst) {
    if (bucket < max_sequences) buckets.push_back(bucket);
  }
  // At most an eighth of a large step is padding.
  int32_t bucket = 16;
  while (bucket < max_sequences) {
    buckets.push_back(bucket);
    bucket += bucket < 128 ? 8 : bucket < 256 ? 16 : 32;
  }
  buckets.push_back(max_sequences);
  return buckets;
}

}  // namespace drover::cuda
