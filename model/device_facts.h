#pragma once

#include <cstdint>
#include <string>

namespace drover {

// What a model runs on, once it is ready: for people to read. Nothing is
// decided by it but, by the dtype, how soft prompts are sent. Bytes that are 0
// are not known.
struct DeviceFacts {
  std::string name;                 // "NVIDIA H200", or "CPU"
  std::string compute_capability;   // "9.0"; empty: a CPU
  std::string driver;               // "580.95.05, CUDA 13.0"; empty: a CPU
  int32_t num_threads = 0;          // of a step; 0: a GPU
  int64_t memory_bytes = 0;         // the GPU's; that the process may use
  int64_t free_bytes_at_start = 0;  // before anything was loaded
  int64_t free_bytes = 0;           // what is left of it
  int64_t kv_cache_bytes = 0;
  std::string dtype;  // in which it computes; DTypeName

  bool operator==(const DeviceFacts&) const = default;
};

}  // namespace drover
