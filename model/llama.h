#pragma once

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
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

  Llama(const ModelConfig& config, const Limits& limits, at::ScalarType dtype,
        WeightLoader& loader);

  // The hidden states of the step's rows after the final norm:
  // [num_rows, hidden_size]; good until the next call. Appends to `cache`.
  at::Tensor Forward(const BatchTensors& batch, KvCache& cache);

  // The logits of some rows of `hidden`, as float32: [rows.size(), vocab_size];
  // good until the next call.
  at::Tensor Logits(const at::Tensor& hidden, absl::Span<const int32_t> rows);

 private:
  void Embed(const BatchTensors& batch, const at::Tensor& out) const;

  const int64_t vocab_size_;
  at::Tensor embedding_;  // [vocab_size, hidden_size]
  std::vector<LlamaLayer> layers_;
  RmsNorm final_norm_;
  // Packed, and so a copy of its own even where it is tied to the embedding.
  Linear head_;
  RotaryEmbedding rope_;

  // Activations: [max_rows, ...].
  at::Tensor residual_;     // [., hidden_size]
  at::Tensor normed_;       // [., hidden_size]
  at::Tensor attended_;     // [., num_heads * head_dim]
  at::Tensor activated_;    // [., intermediate_size]
  at::Tensor logit_input_;  // [max_logit_rows, hidden_size]
  at::Tensor logits_;       // [max_logit_rows, vocab_size], float32
};

// The limits of a model that runs steps of this many tokens.
Llama::Limits LlamaLimits(int32_t max_step_tokens, int32_t max_sequence_length);

// Bytes of everything that a Llama holds.
int64_t LlamaBytes(const ModelConfig& config, const Llama::Limits& limits,
                   DType dtype);

}  // namespace drover
