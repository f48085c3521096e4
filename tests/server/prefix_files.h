#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/prefix_store.h"
#include "tests/model/safetensors_builder.h"

namespace drover::testing {

// A soft prompt as PEFT saves it: `num_tokens` rows of two floats, `value`.
inline std::string PrefixFileBytes(int num_tokens, float value = 0.5f) {
  const std::vector<float> values(static_cast<size_t>(2 * num_tokens), value);
  return SafetensorsBytes(
      R"({"prompt_embeddings": {"dtype": "F32", "shape": [)" +
          std::to_string(num_tokens) + R"(, 2], "data_offsets": [0, )" +
          std::to_string(8 * num_tokens) + "]}}",
      {reinterpret_cast<const char*>(values.data()), 4 * values.size()});
}

// For a model with rows of two floats.
inline PrefixStore::Options SmallPrefixes(const std::string& root) {
  return {.root = root,
          .shape = {.hidden_size = 2, .max_tokens = 100},
          .max_bytes = 1000};
}

}  // namespace drover::testing
