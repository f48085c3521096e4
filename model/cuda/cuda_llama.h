#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/cuda/device_collective.h"
#include "model/cuda/device_weights.h"
#include "model/cuda/memory.h"
#include "model/cuda/step_kernels.h"
#include "model/model_config.h"
#include "scheduler/step_forecast.h"

namespace drover::cuda {

// Rows of a step that are a soft prompt's, in place of embeddings.
struct GivenRows {
  int32_t first_row = 0;
  int64_t num_bytes = 0;
  const void* rows = nullptr;  // on the device, one after another
};

// What the host knows of a step's shape. Sequences with one token come first.
struct StepShape {
  int32_t num_rows = 0;
  int32_t num_sequences = 0;
  int32_t num_decodes = 0;  // of the sequences, with one token
  int32_t max_queries = 1;  // tokens of the longest chunk
  StepLoad load;  // of attention, without padding and regard to a window
  std::vector<GivenRows> given_rows;
  // The rows that a Forward is for, ascending, on the device; or null: all are.
  const int32_t* wanted_rows = nullptr;
  int32_t num_wanted = 0;
  // Whether inputs() are complete before the forward's first kernel begins, as
  // they are before a graph.
  bool inputs_are_settled = false;

  bool wants_few() const {
    return wanted_rows != nullptr && num_wanted < num_rows;
  }
};

struct CudaLlamaLimits {
  int32_t max_rows = 0;
  int32_t max_sequences = 0;
  int32_t max_positions = 0;
  int32_t max_logit_rows = 0;  // at least max_sequences
  int32_t max_blocks_per_seq = 0;
};

// The forward of model/llama.h on raw device memory. Owns its weights and the
// activations of one step. Every function but Create enqueues on `stream`,
// allocates nothing and may be captured. One thread.
class CudaLlama {
 public:
  // config: of the whole model. Takes over `weights`, which are this rank's;
  // times the matrix products. Waits for the device.
  // collective: null if this is the only rank; else it outlives this object,
  // and all ranks make the same calls.
  static absl::StatusOr<std::unique_ptr<CudaLlama>> Create(
      const ModelConfig& config, const CudaLlamaLimits& limits,
      DeviceWeights weights, DeviceCollective* collective);

  virtual ~CudaLlama() = default;

  // Where keys and values live: for each layer first the keys, then the
  // values, each [num_blocks, num_kv_heads, kBlockSize, head_dim].
  virtual void SetKvCache(void* memory, int32_t num_blocks) = 0;

  // Where BuildInputs writes.
  virtual const StepInputs& inputs() const = 0;

  // The hidden states before the final norm of all rows, or, if it wants few,
  // of those, one after another.
  virtual absl::Status Forward(const StepShape& shape, cudaStream_t stream) = 0;

  // The logits of some rows that the last Forward left, for logits(). rows:
  // indices on the device, or null for the first num_rows.
  virtual absl::Status Logits(const int32_t* rows, int32_t num_rows,
                              cudaStream_t stream) = 0;

  virtual float* logits() const = 0;  // [max_logit_rows, vocab_size]
};

}  // namespace drover::cuda
