#pragma once

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/model_config.h"

namespace drover {

// Keys and values of one layer:
// [num_blocks, num_kv_heads, kBlockSize, head_dim].
struct LayerKvCache {
  at::Tensor k;
  at::Tensor v;
};

// Keys and values of every sequence, in blocks of kBlockSize tokens that the
// scheduler hands out. Block kScratchBlock takes what nobody reads.
//
// The address space is reserved here; the operating system commits a page when
// it is first written, so that a large cache costs nothing at start.
class KvCache {
 public:
  KvCache(const ModelConfig& config, at::ScalarType dtype, int64_t num_blocks);

  LayerKvCache& layer(int64_t index) {
    return layers_[static_cast<size_t>(index)];
  }

 private:
  std::vector<LayerKvCache> layers_;
};

}  // namespace drover
