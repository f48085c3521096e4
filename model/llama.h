#pragma once

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/batch_tensors.h"
#include "model/kv_cache.h"
#include "model/layers/attention.h"
#include "model/layers/linear.h"
#include "model/layers/mlp.h"
#include "model/layers/rms_norm.h"
#include "model/layers/rotary_embedding.h"
#include "model/model_config.h"
#include "model/weights.h"
#include "sharding/ranks/collective.h"
#include "sharding/ranks/partition.h"

namespace drover {

struct LlamaLayer {
  RmsNorm input_norm;
  Attention attention;
  RmsNorm post_attention_norm;
  Mlp mlp;
};

// Llama (Touvron et al., 2023), and Mistral and Qwen2, which are the same
// layers with other options. Owns its weights and the activations of one step;
// one step at a time.
class Llama {
 public:
  struct Limits {
    int64_t max_rows = 0;        // of one step, padding included
    int64_t max_positions = 0;   // longest sequence
    int64_t max_logit_rows = 0;  // of one call of Logits
  };

  // config: of what this rank runs (LocalConfig). collective: null if it is the
  // only one; outlives the model. Errors of the functions below are its.
  Llama(const ModelConfig& config, const RankPartition& partition,
        const Limits& limits, at::ScalarType dtype, WeightLoader& loader,
        Collective* collective);

  // The hidden states after the final norm of the step's rows, or of
  // batch.wanted_rows: [., hidden_size]; good until the next call. Appends to
  // `cache`.
  absl::StatusOr<at::Tensor> Forward(const BatchTensors& batch, KvCache& cache);

  // The logits of some rows of `hidden`, as float32: [rows.size(), vocab_size],
  // the same on all ranks; good until the next call.
  absl::StatusOr<at::Tensor> Logits(const at::Tensor& hidden,
                                    absl::Span<const int32_t> rows);

 private:
  absl::Status Embed(const BatchTensors& batch, const at::Tensor& out);
  absl::Status EmbedTokens(const BatchTensors& batch, const at::Tensor& out);
  // ids: rows of embedding_.
  void GatherEmbeddings(absl::Span<const int32_t> ids,
                        const at::Tensor& out) const;
  // tensor = its sum over ranks.
  absl::Status Sum(const at::Tensor& tensor) const;

  const int64_t vocab_size_;
  const Slice vocab_;  // this rank's
  Collective* const collective_;
  at::Tensor embedding_;  // [vocab_.size, hidden_size]
  std::vector<LlamaLayer> layers_;
  RmsNorm final_norm_;
  // Packed, and so a copy of its own even where it is tied to the embedding.
  Linear head_;
  RotaryEmbedding rope_;

  // Activations: [max_rows, ...].
  at::Tensor residual_;             // [., hidden_size]
  at::Tensor normed_;               // [., hidden_size]
  at::Tensor attended_;             // [., num_heads * head_dim]
  at::Tensor activated_;            // [., intermediate_size]
  at::Tensor logit_input_;          // [max_logit_rows, hidden_size]
  at::Tensor logits_;               // [max_logit_rows, vocab_size], float32
  std::vector<int32_t> local_ids_;  // rows of embedding_
};

// The limits of a model that runs steps of this many tokens.
Llama::Limits LlamaLimits(int32_t max_step_tokens, int32_t max_sequence_length);

// Bytes of everything that a Llama holds.
int64_t LlamaBytes(const ModelConfig& config, const Llama::Limits& limits,
                   DType dtype);

}  // namespace drover
