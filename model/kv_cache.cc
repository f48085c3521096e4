#include "model/kv_cache.h"

#include "ATen/ops/empty.h"
#include "scheduler/batch_plan.h"

namespace drover {

KvCache::KvCache(const ModelConfig& config, at::ScalarType dtype,
                 int64_t num_blocks) {
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const auto allocate = [&] {
      return at::empty(
          {num_blocks, config.num_kv_heads, kBlockSize, config.head_dim},
          dtype);
    };
    layers_.push_back({.k = allocate(), .v = allocate()});
  }
}

}  // namespace drover
