#include "server/client/bench/bench_options.h"

namespace drover {

BenchOptions BenchOptions::Latency() {
  return {.name = "latency",
          .input_len = {1024, 1024},
          .output_len = {256, 256},
          .num_requests = 10,
          .warmup = 2};
}

BenchOptions BenchOptions::Throughput() {
  return {.name = "throughput",
          .input_len = {128, 128},
          .output_len = {128, 128},
          .num_requests = 200,
          .warmup = 2,
          .streams = 16};
}

}  // namespace drover
